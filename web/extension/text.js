// Shows what a node has to say as text (a report's table) in the node itself.
import { app } from "../../scripts/app.js"
import { ComfyWidgets } from "../../scripts/widgets.js"

const NAME = "shown"
const LETTER_PX = 6.5
const WIDEST_PX = 1000
// Nodes for which the editor does it.
const THEIRS = new Set(["PreviewAny"])

function widgetOf(node) {
  const found = node.widgets?.find((each) => each.name === NAME)
  if (found) return found
  const { widget } = ComfyWidgets.STRING(node, NAME, ["STRING", { multiline: true }], app)
  // It is no input: neither prompts nor files hold it.
  widget.serialize = false
  widget.options.serialize = false
  widget.element.readOnly = true
  Object.assign(widget.element.style, { fontFamily: "monospace", whiteSpace: "pre" })
  return widget
}

app.registerExtension({
  name: "latentloom.text",
  nodeCreated(node) {
    if (THEIRS.has(node.comfyClass)) return
    const before = node.onExecuted
    node.onExecuted = function (output) {
      before?.apply(this, arguments)
      if (!output?.text?.length) return
      const text = output.text.join("\n")
      widgetOf(this).value = text
      const longest = Math.max(...text.split("\n").map((line) => line.length))
      const width = Math.min(WIDEST_PX, longest * LETTER_PX + 40)
      if (width > this.size[0]) this.setSize([width, this.size[1]])
    }
  }
})
