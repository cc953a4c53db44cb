module vaultmesh/verifier

go 1.24
