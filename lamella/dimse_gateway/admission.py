"""Association control: who is let in, and what is agreed on."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.pdu_primitives import (
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from lamella.dimse_gateway.identifiers import ALL_ROOTS, Extensions
from lamella.dimse_gateway.metrics import ADMISSIONS, REJECTIONS
from lamella.dimse_gateway.negotiation import ACCEPTED, is_storage_class, negotiate
from lamella.dimse_gateway.rejection import NAMES, Rejection

LOGGER = logging.getLogger(__name__)


class Admission(ACSE):  # type: ignore[misc]
    """Association control of one association."""

    def negotiate_association(self) -> None:
        """Admit the requestor and agree on contexts, or reject it."""
        rejection = self.assoc.seek_admission()
        if rejection is not None:
            self.send_reject(*rejection)
            evt.trigger(self.assoc, evt.EVT_REJECTED, {})
            self.assoc.kill()
            return
        super().negotiate_association()

    def send_reject(self, result: int, source: int, diagnostic: int) -> None:
        """Reject, for a reason of ours or of pynetdicom's."""
        reason = NAMES.get(Rejection((result, source, diagnostic)), "other")
        ADMISSIONS.labels("rejected").inc()
        REJECTIONS.labels(reason).inc()
        LOGGER.info("association rejected", extra={"reason": reason, **self.assoc.describe()})
        super().send_reject(result, source, diagnostic)

    def send_accept(self) -> None:
        """Accept, with the outcome of our own negotiation."""
        proposed = self.requestor.primitive.presentation_context_definition_list
        outcomes = negotiate(proposed, self.assoc.transfer_syntaxes)
        accepted = {cx.context_id: cx for cx in outcomes if cx.result == ACCEPTED}
        ADMISSIONS.labels("accepted").inc()
        LOGGER.info("association accepted", extra=self.assoc.describe())
        self.assoc._accepted_cx = accepted
        self.assoc._rejected_cx = [cx for cx in outcomes if cx.result != ACCEPTED]
        for item in self._agree_on_roles(accepted.values()):
            self.acceptor.add_negotiation_item(item)
        super().send_accept()

    def _agree_on_roles(
        self, accepted: Iterable[PresentationContext]
    ) -> list[SCP_SCU_RoleSelectionNegotiation]:
        """Let peers take instances, as in a C-GET, wherever they offer to.

        Source:
            PS3.7 §D.3.3.4; PS3.4 §C.4.3.
        """
        proposed, items = self.requestor.role_selection, []
        for uid in dict.fromkeys(cx.abstract_syntax for cx in accepted):
            if uid in proposed and is_storage_class(str(uid)):
                item = SCP_SCU_RoleSelectionNegotiation()
                item.sop_class_uid = uid
                item.scu_role, item.scp_role = proposed[uid].scu_role, proposed[uid].scp_role
                items.append(item)
        return items

    def _check_user_identity(self) -> tuple[bool, UserIdentityNegotiation | None]:
        """Answer a user's identity, which has been judged before."""
        return True, self.assoc.guard.answer_identity(self.requestor.user_identity)

    def _check_sop_class_extended(self) -> list[SOPClassExtendedNegotiation]:
        """Agree on extensions of queries and retrieves; there are none of other services."""
        items = []
        for uid, proposed in self.requestor.sop_class_extended.items():
            if str(uid) not in ALL_ROOTS:
                continue
            agreed = Extensions.parse(proposed)
            self.assoc.extensions[str(uid)] = agreed
            item = SOPClassExtendedNegotiation()
            item.sop_class_uid = uid
            item.service_class_application_information = agreed.encode(len(proposed))
            items.append(item)
        return items
