"""Association control: who is let in, and what is agreed on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.acse import ACSE, APPLICATION_CONTEXT_NAME
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext

from lamella.dimse_gateway.identifiers import ALL_ROOTS, Extensions
from lamella.dimse_gateway.metrics import ADMISSIONS, REJECTIONS
from lamella.dimse_gateway.negotiation import agree, is_storage_class
from lamella.dimse_gateway.rejection import LOCAL_LIMIT_EXCEEDED, NAMES, Rejection

LOGGER = logging.getLogger(__name__)


class Admission(ACSE):  # type: ignore[misc]
    """Association control of one association."""

    def negotiate_association(self) -> None:
        """Admit the requestor and agree on contexts, or reject it."""
        rejection = self.assoc.seek_admission() or self._judge_number()
        if rejection is not None:
            self.send_reject(*rejection)
            evt.trigger(self.assoc, evt.EVT_REJECTED, {})
            self.assoc.kill()
            return
        self.requestor.ae_title = self.requestor.primitive.calling_ae_title
        self._answer_items()
        self.send_accept()
        evt.trigger(self.assoc, evt.EVT_ACCEPTED, {})
        self.assoc.is_established = True
        evt.trigger(self.assoc, evt.EVT_ESTABLISHED, {})

    def send_reject(self, result: int, source: int, diagnostic: int) -> None:
        """Reject, for a reason of ours or of pynetdicom's."""
        reason = NAMES.get(Rejection((result, source, diagnostic)), "other")
        ADMISSIONS.labels("rejected").inc()
        REJECTIONS.labels(reason).inc()
        LOGGER.info("association rejected", extra={"reason": reason, **self.assoc.describe()})
        super().send_reject(result, source, diagnostic)

    def send_accept(self) -> None:
        """Accept, with the outcome of our own negotiation.

        Source:
            PS3.8 §9.3.3.
        """
        request = self.requestor.primitive
        agreement = agree(
            request.presentation_context_definition_list, self.assoc.transfer_syntaxes
        )
        ADMISSIONS.labels("accepted").inc()
        LOGGER.info("association accepted", extra=self.assoc.describe())
        self.assoc._accepted_cx = dict(agreement.accepted)
        self.assoc._rejected_cx = list(agreement.rejected)
        for item in self._agree_on_roles(agreement.accepted.values()):
            self.acceptor.add_negotiation_item(item)
        primitive = A_ASSOCIATE()
        primitive.application_context_name = UID(APPLICATION_CONTEXT_NAME)
        primitive.calling_ae_title = request.calling_ae_title
        primitive.called_ae_title = request.called_ae_title
        primitive.result, primitive.result_source = 0x00, 0x01
        primitive.user_information = self.acceptor.user_information
        self.acceptor.primitive = primitive
        self.dul.outcomes = agreement.encoded
        self.dul.send_pdu(primitive)

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

    def _judge_number(self) -> Rejection | None:
        entity = self.assoc.ae
        accepted = sum(one.is_acceptor for one in entity.active_associations)
        return LOCAL_LIMIT_EXCEEDED if accepted > entity.maximum_associations else None

    def _answer_items(self) -> None:
        """Answer what was proposed besides contexts and roles.

        Asynchronous operations get no answer, which declines them.

        Source:
            PS3.7 §D.3.3.3 to §D.3.3.7.
        """
        items = self._agree_on_extensions()
        if self.requestor.user_identity:
            items.append(self.assoc.guard.answer_identity(self.requestor.user_identity))
        for item in filter(None, items):
            self.acceptor.add_negotiation_item(item)

    def _agree_on_extensions(self) -> list[Any]:
        """Agree on extensions of queries and retrieves; there are none of other services."""
        items: list[Any] = []
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
