"""One tree of errors for the whole house; each door has one mapper, none inside.

    LamellaError
    ├── InvalidRequest            400          a request that cannot be understood
    │   ├── AmbiguousRevision     400          a commit prefix that fits several commits
    │   └── IdentifierMismatch    400  0xA900  a query that is none of its information model
    ├── NotAuthenticated          401
    ├── NotAuthorized             403  0x0124
    ├── NotFound                  404
    │   ├── RevisionNotFound      404          dataset, ref, commit or instant unknown
    │   └── ResourceNotFound      404          study, series, instance, frame not in this view
    ├── ReadOnlyRevision          405  0x0124  a store or delete that names no branch
    ├── NotAcceptable             406
    │   └── BrokenInstance        406          what was sent to be stored contradicts itself
    ├── SenderStalled             408          a request's body that does not go on
    ├── Conflict                  409
    │   ├── AlreadyExists         409          a tag, branch or dataset of that name is there
    │   ├── InstanceConflict      409  0x0111  other content under a known UID
    │   └── InstanceRefused       409          one instance cannot be stored
    │       ├── InvalidInstance      409  0xC000
    │       ├── StudyMismatch        409  0xC000
    │       ├── SopClassMismatch     409  0xA900
    │       ├── SopClassNotSupported 409  0x0122
    │       └── TransferSyntaxNotSupported 409  0xC122
    ├── Erased                    410
    │   └── Rejected              410          hidden by a rejection note; may be lifted
    ├── RefMoved                  412          If-Match named another head
    ├── TooLarge                  413
    ├── UnsupportedMediaType      415
    ├── RangeNotSatisfiable       416
    ├── IntegrityError            500  0x0110  stored bytes are not what they should be
    └── OutOfResources            503  0xA700  disk full, too busy
        └── PeerUnavailable       503          a peer that is called is down or rejects

Messages are one sentence, carry UIDs and names of refs, and never patient values.

Source:
    STYLE; HTTP status codes of PS3.18 §10.4.3 and §10.5.3; status codes of PS3.4 Table B.2-1
    and PS3.7 Annex C; failure reasons of PS3.18 Table I.2-2.
"""

from __future__ import annotations

from typing import ClassVar


class LamellaError(Exception):
    """What Lamella raises on purpose.

    Attributes:
        http_status: The status an HTTP door answers with.
        dimse_status: The status a DIMSE door answers with; also the FailureReason of STOW-RS.
        title: A few words that name the kind of error (RFC 9457 `title`).
    """

    http_status: ClassVar[int] = 500
    dimse_status: ClassVar[int] = 0x0110
    title: ClassVar[str] = "Internal error"

    @property
    def detail(self) -> str:
        """The one sentence that tells a person what is wrong."""
        return str(self)


class InvalidRequest(LamellaError):
    http_status, dimse_status, title = 400, 0xC000, "Invalid request"


class AmbiguousRevision(InvalidRequest):
    title = "Ambiguous revision"


class IdentifierMismatch(InvalidRequest):
    """An identifier that does not fit its SOP class.

    Args:
        message: One sentence.
        tag: The offending element, 8 hex digits.
    """

    dimse_status = 0xA900

    def __init__(self, message: str, tag: str) -> None:
        super().__init__(message)
        self.tag = tag


class NotAuthenticated(LamellaError):
    http_status, dimse_status, title = 401, 0x0124, "Not authenticated"


class NotAuthorized(LamellaError):
    http_status, dimse_status, title = 403, 0x0124, "Not authorized"


class NotFound(LamellaError):
    http_status, dimse_status, title = 404, 0x0112, "Not found"


class RevisionNotFound(NotFound):
    title = "Revision not found"


class ResourceNotFound(NotFound):
    title = "Resource not found"


class ReadOnlyRevision(LamellaError):
    http_status, dimse_status, title = 405, 0x0124, "Read-only revision"


class NotAcceptable(LamellaError):
    http_status, dimse_status, title = 406, 0xC000, "Not acceptable"


class BrokenInstance(NotAcceptable):
    """An instance that cannot be shown or made into anything else, because it came so.

    It goes out as it came. What went wrong here, after it came, is an `IntegrityError`.
    """

    title = "Broken instance"


class Conflict(LamellaError):
    http_status, dimse_status, title = 409, 0x0111, "Conflict"


class AlreadyExists(Conflict):
    title = "Already exists"


class InstanceConflict(Conflict):
    title = "Instance conflict"


class InstanceRefused(Conflict):
    dimse_status, title = 0xC000, "Instance refused"


class InvalidInstance(InstanceRefused):
    title = "Invalid instance"


class StudyMismatch(InstanceRefused):
    title = "Study mismatch"


class SopClassMismatch(InstanceRefused):
    dimse_status, title = 0xA900, "SOP class mismatch"


class SopClassNotSupported(InstanceRefused):
    dimse_status, title = 0x0122, "SOP class not supported"


class TransferSyntaxNotSupported(InstanceRefused):
    dimse_status, title = 0xC122, "Transfer syntax not supported"


class Erased(LamellaError):
    http_status, dimse_status, title = 410, 0x0112, "Erased"


class Rejected(Erased):
    title = "Rejected"


class RefMoved(LamellaError):
    http_status, dimse_status, title = 412, 0x0110, "Ref moved"


class TooLarge(LamellaError):
    http_status, dimse_status, title = 413, 0xA700, "Too large"


class UnsupportedMediaType(LamellaError):
    http_status, dimse_status, title = 415, 0xC122, "Unsupported media type"


class RangeNotSatisfiable(LamellaError):
    """A range outside its body, whose size the answer tells.

    Attributes:
        size_bytes: Of the whole body.
    """

    http_status, dimse_status, title = 416, 0xC000, "Range not satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The body has {size_bytes} bytes.")
        self.size_bytes = size_bytes


class IntegrityError(LamellaError):
    http_status, dimse_status, title = 500, 0x0110, "Integrity error"


class SenderStalled(LamellaError):
    http_status, title = 408, "Request timeout"


class OutOfResources(LamellaError):
    http_status, dimse_status, title = 503, 0xA700, "Out of resources"


class PeerUnavailable(OutOfResources):
    """An application entity that is called is down, rejects, or does not answer."""
