"""The data tools, used as a stranger uses them: from an installed wheel, by URL, in a process that imports only the tool."""
