"""`Begun`: what the script that registers a stream answers for one that is new."""

from __future__ import annotations

from ...decoding import DAMAGE
from ...errors import StoreCorruptError
from ...values import FORMAT_VERSION, Persisted, QuotaState, StreamState
from ..records import NewStream, StreamMeta
from ..registrations import Registered

__all__ = ["Begun"]


class Begun(Registered):
    """A stream that was registered just now. The script says only what is new of it, and its writer asks for no more:
    the whole record is made for whoever does.

    Raises:
        StoreCorruptError: `said` is not what the script says.
    """

    __slots__ = ("_lease_seconds", "_new", "_ordinal")

    def __init__(self, new: NewStream, lease_seconds: float, said: object) -> None:  # in place of the base's
        try:
            if type(said) is not bytes:
                raise TypeError("not what a registration says")
            ordinal, epoch, began_us, stop = said.split(b" ")
            self._ordinal = int(ordinal)
            self.epoch: int = int(epoch)
            self.created_at: float = int(began_us) / 1_000_000
        except DAMAGE as exc:
            text = f"register: the record of stream {new.ref.stream_id} is damaged"
            raise StoreCorruptError(text, operation="register") from exc
        self.stop_requested: bool = stop == b"1"
        self._new = new
        self._lease_seconds = lease_seconds

    @property
    def meta(self) -> StreamMeta:
        """The record as it was at that moment."""
        new, epoch = self._new, self.epoch
        age = epoch // 1_000 / 1_000 - self.created_at  # an epoch is the time at which it was issued
        return StreamMeta(
            ref=new.ref,
            message_id=new.message_id,
            protocol=new.protocol,
            binding=new.binding,
            fingerprint=new.fingerprint,
            ordinal=self._ordinal,
            epoch=epoch,
            state=StreamState.OPEN,
            last_seq=0,
            last_epoch=epoch,
            first_seq=1,
            lease_seconds=self._lease_seconds,
            stop_requested=self.stop_requested,
            taken=False,
            lost=False,
            seal=None,
            usage=None,
            persisted=Persisted.NOT_ASKED,
            quota=QuotaState.NONE,
            revised=False,
            created_at=self.created_at,
            age_seconds=age if age > 0.0 else 0.0,
            closed_seconds=None,
            abandon_after_seconds=new.abandon_after_seconds,
            viewed_seconds=None,
            format_version=FORMAT_VERSION,
            client_version=new.client_version,
            request_id=new.request_id,
            trace=new.trace,
            worker=new.worker,
        )
