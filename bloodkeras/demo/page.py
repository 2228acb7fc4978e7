"""Builds the page.

Flow: takes an `Explainer` and example files; gives Gradio's `Blocks`.
"""

import gradio as gr

from bloodkeras.demo.explain import Explainer
from bloodkeras.demo.tile import tile
from bloodkeras.images.preprocess import IMAGE_SUFFIXES

MOST_FILES = 24  # that are shown at once
WARNING = "**Not a medical device, not for diagnosis.**"
PRIVATE = "Photographs stay on the machine that runs this page."
NOTHING = "<p>Nothing to show yet: drop photographs of single cells, or click an example.</p>"


def build_page(explainer: Explainer, examples: list[str]) -> gr.Blocks:
    """Return the page.

    Args:
        explainer: Who answers.
        examples: Image files of drawn cells.
    """
    dataset, model = explainer.classifier.dataset, explainer.classifier.card.get("model", "")
    side, warning = dataset.image_side, f"{WARNING} {dataset.limits} {PRIVATE}"

    def answer(paths: list[str] | None) -> str:
        shown = [tile(explainer.explain(path)) for path in (paths or [])[:MOST_FILES]]
        more = len(paths or []) - MOST_FILES
        if more > 0:
            shown.append(
                f"<p>{more} more are not shown: `bloodkeras predict` takes any number.</p>"
            )
        return "\n".join(shown) or NOTHING

    def answer_example(chosen: gr.SelectData) -> str:
        return answer([examples[chosen.index]])

    page = gr.Blocks(title="bloodkeras", analytics_enabled=False, fill_width=True)
    with page:
        gr.Markdown(f"# bloodkeras: which blood cell is it?\nModel `{model}`. {warning}")
        with gr.Row():
            with gr.Column(scale=1, min_width=380):
                # What is not an image is told so by the page itself, in one line for each file.
                files = gr.File(
                    file_count="multiple",
                    label="Photographs of single cells",
                    elem_id="photographs",
                )
                gr.Markdown(
                    f"{', '.join(suffix.lstrip('.') for suffix in IMAGE_SUFFIXES)}; {side}x{side} "
                    "pixels are taken as they are, larger photographs are cropped around their "
                    "middle."
                )
                gr.Markdown("Or click one of these, which are drawn, not photographs:")
                gallery = gr.Gallery(
                    examples,
                    show_label=False,
                    columns=3,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    height=390,
                    format="png",
                    elem_id="examples",
                )
            with gr.Column(scale=3):
                answers = gr.HTML(NOTHING, elem_id="answers")
        files.change(answer, files, answers, api_visibility="private")
        gallery.select(answer_example, None, answers, api_visibility="private")
    return page
