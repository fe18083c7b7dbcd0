"""A picture of one instance of a task, for the page."""

from canonlab.errors import InputError
from canonlab.pictures import picture
from canonlab.reports.markup import Markup, join, tag
from canonlab.results.groups import Section
from canonlab.tasks.catalog import build_task


def instance_html(section: Section) -> Markup:
    """The first question of the task's evaluation stream with its answer, folded away; nothing if it can't be drawn.

    It can't for a user's own task, for one whose data this canonlab makes in another version, and for huge instances.
    """
    asked = section.runs[0].record.asked.get("task")
    if section.task.get("source") or not asked:
        return join("")
    try:
        task = build_task(asked["name"], asked["set"])
        drawing = picture(task, split="eval")
    except InputError:
        return join("")
    if task.version != section.task["version"] or task.context != section.task["context"]:
        return join("")
    summary = tag("summary", "What the task asks: one question and its answer")
    return tag("details", summary, Markup(drawing), class_="instance")
