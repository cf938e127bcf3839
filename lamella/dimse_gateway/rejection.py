"""Why associations are rejected."""

from __future__ import annotations


class Rejection(tuple[int, int, int]):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    __slots__ = ()


NO_REASON = Rejection((0x01, 0x01, 0x01))
CALLING_AE_TITLE_NOT_RECOGNIZED = Rejection((0x01, 0x01, 0x03))
CALLED_AE_TITLE_NOT_RECOGNIZED = Rejection((0x01, 0x01, 0x07))
TEMPORARY_CONGESTION = Rejection((0x02, 0x03, 0x01))
LOCAL_LIMIT_EXCEEDED = Rejection((0x02, 0x03, 0x02))

NAMES = {
    NO_REASON: "user identity",
    CALLING_AE_TITLE_NOT_RECOGNIZED: "calling AE title",
    CALLED_AE_TITLE_NOT_RECOGNIZED: "called AE title",
    TEMPORARY_CONGESTION: "congestion",
    LOCAL_LIMIT_EXCEEDED: "limit",
}
"""As metrics and logs name them."""
