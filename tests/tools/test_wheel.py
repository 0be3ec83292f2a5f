"""The wheel is what the tools use: installed by pip, found by fsspec, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from .wheel import REPOSITORY, Root, Tool


def test_fsspec_finds_the_protocol_by_itself(run_tool: Tool) -> None:
    run_tool(
        """
        import fsspec
        assert "artifact" in fsspec.available_protocols()
        assert fsspec.get_filesystem_class("artifact").protocol == "artifact"
        """
    )


def test_the_wheel_holds_every_module_and_its_mark_of_types(wheel: Path) -> None:
    def files(package: Path) -> set[str]:
        return {str(file.relative_to(package)) for file in package.rglob("*") if file.suffix not in ("", ".pyc")}

    assert "py.typed" in files(wheel / "artifactfs")
    assert files(wheel / "artifactfs") == files(REPOSITORY / "artifactfs")


def test_an_artifact_is_written_and_read_by_url(run_tool: Tool, root: Root) -> None:
    script = """
        import fsspec
        for data in (b"first", b"second"):
            with fsspec.open("artifact://shop/alice/s1/notes.txt", "wb") as f:
                f.write(data)
        with fsspec.open("artifact://shop/alice/s1/notes.txt@0") as f:
            print(f.read().decode())
        """
    assert run_tool(script, **root.env) == "first\n"
    assert root.versions("notes.txt") == [0, 1]


def test_a_script_that_does_not_use_the_wheel_fails(run_tool: Tool) -> None:
    with pytest.raises(AssertionError, match="not used from the wheel but from None"):
        run_tool("import json")
    with pytest.raises(AssertionError, match="not used from the wheel but from /"):
        run_tool("import artifactfs", helper=True, PYTHONPATH=str(REPOSITORY))
    for line in ("import artifactfs", "from artifactfs.store import ArtifactStore", "def f():\n    import artifactfs"):
        with pytest.raises(AssertionError, match="imports artifactfs"):
            run_tool(line)


def test_what_python_can_only_print_fails_a_script_too(run_tool: Tool) -> None:
    with pytest.raises(AssertionError, match="Exception ignored"):
        run_tool(
            """
            import fsspec
            fsspec.filesystem("artifact", root="memory://")
            class Broken:
                def __del__(self):
                    raise RuntimeError
            Broken()
            """
        )
    with pytest.raises(AssertionError, match="UserWarning: look out"):
        run_tool("import warnings; warnings.warn('look out')")
