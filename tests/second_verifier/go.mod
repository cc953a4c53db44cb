module vaultmesh/secondverifier

go 1.21
