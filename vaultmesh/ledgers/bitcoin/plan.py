"""Turns a reservation into a transaction: the same record and fee give the same bytes, from any wallet state.

The wallet signs what we built. It gets the spent output from our record, so that it signs also when the output is
spent already; and what it returns is compared with what we built.
"""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.aggregator.ledger_messages import Reservation, Terms
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AuthFailure, ValidationFailure
from vaultmesh.ledgers.bitcoin.core.transaction import (
    COIN_SATS,
    MOST_SATS,
    REPLACEABLE,
    Outpoint,
    Transaction,
    TxInput,
    TxOutput,
    commitment_script,
    dust_sats,
    read_hex,
)
from vaultmesh.ledgers.bitcoin.rpc import LOCKED, Node, NodeError, Reply


class Plan(BaseModel):
    """Everything that a round's signature covers, but the fee; the `fields` of a reservation."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        alias_generator=to_camel,
        validate_by_name=True,
    )

    network: str
    genesis: str
    block_hash: str = ""
    """Newest block when it was decided, at which the output was unspent; empty in older records."""
    txid: str
    """Of the output that is spent: this and `vout` are what makes the round unique (B3)."""
    vout: int = Field(ge=0)
    amount_sats: int = Field(gt=0, le=MOST_SATS)
    script_pub_key: str
    """Script of the output that is spent."""
    change_script: str
    commitment: str
    vsize: int = Field(gt=0)
    """Virtual bytes that fees are reckoned for."""
    height: int = Field(ge=0)
    """Newest block when it was decided."""
    confirmations: int | None = Field(default=None, ge=0)
    """Depth at which it counts as final; None in reservations that were made before this was kept."""

    @classmethod
    def of(cls, reservation: Reservation) -> Self:
        """Read a recorded reservation.

        Raises:
            ValidationFailure: it is none of a Bitcoin target.
        """
        try:
            return cls.model_validate(reservation.fields)
        except ValidationError as error:
            keys = sorted({str(detail["loc"][0]) for detail in error.errors() if detail["loc"]})
            message = f"the recorded reservation lacks or misstates {', '.join(keys)}"
            raise ValidationFailure(message) from None

    @property
    def fields(self) -> Terms:
        """Return it as it is recorded."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def outpoint(self) -> Outpoint:
        """What is spent."""
        return Outpoint(self.txid, self.vout)

    @property
    def most_fee_sats(self) -> int:
        """What can be paid when the change shall be worth spending (B2)."""
        return self.amount_sats - dust_sats(read_hex(self.change_script))

    def unsigned(self, fee_sats: int) -> Transaction:
        """Build the transaction: one input, the commitment, the change (B1, B2).

        Raises:
            ValidationFailure: the record is malformed, or the fee leaves no change.
        """
        try:
            if fee_sats > self.most_fee_sats:
                message = f"a fee of {fee_sats} sat leaves no change of {self.amount_sats} sat"
                raise ValidationFailure(message)
            change = TxOutput(self.amount_sats - fee_sats, read_hex(self.change_script))
            payload = TxOutput(0, commitment_script(read_hex(self.commitment)))
            return Transaction((TxInput(self.outpoint, sequence=REPLACEABLE),), (payload, change))
        except InvalidValue as error:
            message = f"the recorded reservation is malformed: {error}"
            raise ValidationFailure(message) from error

    def spent(self) -> Mapping[str, JsonValue]:
        """Return the spent output as the wallet wants to be told of it."""
        return {
            "txid": self.txid,
            "vout": self.vout,
            "scriptPubKey": self.script_pub_key,
            "amount": f"{self.amount_sats // COIN_SATS}.{self.amount_sats % COIN_SATS:08d}",
        }


async def sign_plan(node: Node, plan: Plan, fee_sats: int) -> Transaction:
    """Have the wallet sign. Deterministic: nodes sign without randomness (RFC 6979, BIP 340 without extra data).

    Raises:
        AuthFailure: the wallet does not sign: locked, or not its key.
        ValidationFailure: it signed something else.
    """
    built = plan.unsigned(fee_sats)
    raw = built.serialised(witness=False).hex()
    try:
        spent = dict(plan.spent())
        signed = await node.wallet("signrawtransactionwithwallet", raw, [spent], "ALL")
    except NodeError as error:
        if error.code != LOCKED:
            raise
        message = f"the wallet at {node.label} is locked: unlock it with walletpassphrase"
        raise AuthFailure(message) from error
    return _checked(node, plan, built, Reply.of(signed))


def _checked(node: Node, plan: Plan, built: Transaction, reply: Reply) -> Transaction:
    if not reply.flag("complete"):
        message = (
            f"the wallet at {node.label} does not sign for output {plan.outpoint}: "
            "it has no key of it; name the wallet in the settings that has"
        )
        raise AuthFailure(message)
    try:
        signed = Transaction.parse_hex(reply.text("hex"))
    except InvalidValue as error:
        message = f"{node.label} signed, but returned no transaction: {error}"
        raise ValidationFailure(message) from error
    if _covered(signed) != _covered(built):
        message = f"{node.label} signed another transaction than the one it was given"
        raise ValidationFailure(message)
    return signed


def _covered(transaction: Transaction) -> object:
    spent = [(tx_input.outpoint, tx_input.sequence) for tx_input in transaction.inputs]
    return spent, transaction.outputs, transaction.version, transaction.lock_time
