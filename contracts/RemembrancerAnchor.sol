// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Publishes Merkle roots of sealed batches.
/// @notice A root is published by the log entry of the transaction that carries it. Nothing here can be changed,
/// paused or withdrawn, and anyone may publish: what a root is worth is decided by who can prove membership in it.
contract RemembrancerAnchor {
    /// @notice A root was published.
    /// @param root Merkle root of a batch, or of a tree over the roots of several batches.
    /// @param batchId keccak256 of the id of the batch or round.
    /// @param memo free text; empty unless the sender has something to add.
    event BatchAnchored(bytes32 indexed root, bytes32 indexed batchId, string memo);

    /// @notice Roots that were published with `persist`; other contracts can ask for these without a log proof.
    mapping(bytes32 => bool) public knownRoots;

    /// @notice Publish a root. Publishing it again is allowed and adds another log entry.
    /// @param persist also remember the root in `knownRoots`; costs about 22,000 gas more the first time.
    function anchor(bytes32 root, bytes32 batchId, string calldata memo, bool persist) external {
        if (persist) {
            knownRoots[root] = true;
        }
        emit BatchAnchored(root, batchId, memo);
    }
}
