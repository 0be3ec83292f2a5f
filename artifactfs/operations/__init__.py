"""What can be done with a store and a scope, as protocol generators: the one text behind both kinds of store.

`StoreOperations` and `ScopeOperations` add to the protocol what a user of it expects: names checked for this store, `user:`
names, versions by number, from the end or by time, errors that say what was looked for.
"""
