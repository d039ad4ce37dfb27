"""Recordings as logs."""

from digitorn_testing._errors import RecordingDamaged
from digitorn_testing._exchanges import Exchange
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._log.recorded import FilePath, OnDamage, RecordedFile, RecordedStream


class RecordedLog(EventLog):
    """The log of one session in a recording. It is closed: no more events will arrive.

    Attributes:
        session: The session.
        frames: All raw frames in order of arrival, including copies.
        exchanges: The recording's exchanges, of all its sessions.
        damage: Where the recording is cut off or damaged; None if it is whole.
    """

    def __init__(
        self,
        streams: list[RecordedStream],
        *,
        exchanges: tuple[Exchange, ...],
        damage: RecordingDamaged | None,
        strict: bool = False,
    ) -> None:
        self.session = streams[0].session
        self.exchanges = exchanges
        self.damage = damage
        self.frames = [frame for one in streams for frame in one.frames]
        super().__init__(
            session_id=self.session.session_id, strict=strict, since=min(one.since for one in streams)
        )
        self._take_recorded(streams)

    @staticmethod
    def load(
        path: FilePath,
        *,
        session: SessionHandle | str | None = None,
        strict: bool = False,
        damaged: OnDamage = "warn",
    ) -> "RecordedLog":
        """Loads the log of a session from a recording, with everything else that belongs to it.

        Args:
            path: As for `EventLog.load`.
            session: As for `EventLog.load`.
            strict: As for `EventLog.load`.
            damaged: As for `EventLog.load`.

        Raises:
            DigitornError: As for `EventLog.load`.
        """
        return Recording.load(path, damaged=damaged).log(session, strict=strict)


class Recording(RecordedFile):
    """A recording read from a file.

    Attributes:
        path: The file.
        exchanges: The calls over REST, in order.
        damage: Where it is cut off or damaged; None if it is whole.
        is_complete: Whether every writer was stopped properly; False if one was killed.
    """

    def log(self, session: SessionHandle | str | None = None, *, strict: bool = False) -> RecordedLog:
        """The log of a session. Several streams of one session are merged into one log.

        Args:
            session: The session; optional if there is only one.
            strict: As for `EventLog`.

        Raises:
            RecordingError: The session is not recorded, or there are several and `session` is missing.
            ContractViolation: `strict` is set and an event is unknown or invalid.
        """
        streams = self.streams(session)
        return RecordedLog(streams, exchanges=self.exchanges, damage=self.damage, strict=strict)
