// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ExecEscrow} from "../ExecEscrow.sol";
import {Token} from "./Token.sol";

/// @dev The part of forge's cheat codes that is needed.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 time) external;
    function prank(address caller) external;
    function deal(address account, uint256 wei_) external;
    function expectRevert(bytes4 selector) external;
    function expectRevert() external;
    function etch(address account, bytes calldata code) external;
}

/// @notice Parties with keys, offers and signatures.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    uint256 internal constant PROVIDER_KEY = 0x11;
    uint256 internal constant BUYER_KEY = 0x22;
    uint256 internal constant ARBITER_KEY = 0x33;
    uint256 internal constant START = 1_000_000;
    uint256 internal constant PRICE = 100_000;

    ExecEscrow internal escrow;
    address internal provider = vm.addr(PROVIDER_KEY);
    address internal buyer = vm.addr(BUYER_KEY);
    address internal arbiter = vm.addr(ARBITER_KEY);
    address internal constant STRANGER = address(0x5712A46E12);

    function plainOffer(uint256 nonce) internal view returns (ExecEscrow.Offer memory) {
        return ExecEscrow.Offer({
            provider: provider,
            buyer: address(0),
            site: keccak256("site1.isp.example:80"),
            slotStart: uint64(block.timestamp + 200),
            slotEnd: uint64(block.timestamp + 300),
            hardware: bytes32(0),
            sla: bytes32(0),
            receiptInterval: 10,
            notice: 5,
            answerTime: 100,
            asset: address(0),
            pricePerSecond: 1_000,
            stake: 0,
            arbiter: arbiter,
            expires: uint64(block.timestamp + 60),
            nonce: bytes32(nonce)
        });
    }

    function domain() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("ExEC"),
                keccak256("1"),
                block.chainid,
                address(escrow)
            )
        );
    }

    function digest(bytes32 message) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain(), message));
    }

    function idOf(ExecEscrow.Offer memory offer) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "Offer(address provider,address buyer,bytes32 site,uint64 slotStart,uint64 slotEnd,bytes32 hardware,bytes32 sla,uint64 receiptInterval,uint64 notice,uint64 answerTime,address asset,uint256 pricePerSecond,uint256 stake,address arbiter,uint64 expires,bytes32 nonce)"
        );
        return digest(keccak256(abi.encode(typeHash, offer)));
    }

    function signed(uint256 key, bytes32 hash) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, hash);
        return abi.encodePacked(r, s, v);
    }

    function receipt(uint256 key, bytes32 id, uint256 due) internal view returns (bytes memory) {
        return signed(key, digest(keccak256(abi.encode(keccak256("Receipt(bytes32 agreement,uint256 due)"), id, due))));
    }

    function closing(uint256 key, bytes32 id, uint256 due) internal view returns (bytes memory) {
        return signed(key, digest(keccak256(abi.encode(keccak256("Closing(bytes32 agreement,uint256 due)"), id, due))));
    }

    function confirmation(uint256 key, bytes32 id, address named, uint64 until) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256("Confirmation(bytes32 agreement,address buyer,uint64 until)");
        return signed(key, digest(keccak256(abi.encode(typeHash, id, named, until))));
    }

    function stateOf(bytes32 id) internal view returns (ExecEscrow.State state) {
        (, state,,,) = escrow.agreement(id);
    }

    function creditOf(address who, address asset) internal view returns (uint256 credit) {
        (credit,,,) = escrow.account(who, asset);
    }

    function check(bool holds, string memory what) internal pure {
        require(holds, what);
    }
}
