"""Publishing: bytes in, drafts to the hub, the numbers back. Whatever is refused leaves here with its sentence."""

from sentri_events.caller import PUBLISHER
from sentri_events.errors import SentriEventsError
from sentri_events.event import read_payloads
from sentri_events.handlers.base import BaseHandler
from sentri_events.store_write import Answer


class PublishHandler(BaseHandler):
    """`POST /api/v1/runs/{id}/events` (protocol, section 3). `GET` of the same path is the stream's."""

    writes = PUBLISHER

    async def post(self, run: str) -> None:
        """201 with the numbers after the commit; 202 if nothing was stored."""
        self.check_run(run)
        project = self.caller.project
        once = None
        try:
            once = self.once()
            volatile = self.flag("volatile")
            judged = self.hub.drafts(
                read_payloads(self.body, self.content_type, self.hub.settings.max_batch_events), volatile
            )
        except SentriEventsError as refusal:
            answer = await self.hub.refuse(self.workspace, run, once, refusal, project)
        else:
            answer = await self.hub.publish(self.workspace, run, judged, once, project)
        self.publish_answer(answer)

    def publish_answer(self, answer: Answer) -> None:
        """201 or 202, and whether it was answered before."""
        if answer.replayed:
            self.set_header("Idempotency-Replayed", "true")
        self.answer(answer.json, 201 if answer.stored else 202)
