// Shows a node's text output (a report's table) in the node itself.
import { app } from "../../scripts/app.js"
import { ComfyWidgets } from "../../scripts/widgets.js"

const WIDGET = "shown"
const CHARACTER_PX = 6.5
const MAX_WIDTH_PX = 1000
// Nodes whose text the editor shows by itself.
const SHOWN_BY_THE_EDITOR = new Set(["PreviewAny"])

function textWidget(node) {
  const existing = node.widgets?.find((widget) => widget.name === WIDGET)
  if (existing) return existing
  const { widget } = ComfyWidgets.STRING(node, WIDGET, ["STRING", { multiline: true }], app)
  // It is an output: neither prompts nor saved workflows contain it.
  widget.serialize = false
  widget.options.serialize = false
  widget.element.readOnly = true
  Object.assign(widget.element.style, { fontFamily: "monospace", whiteSpace: "pre" })
  return widget
}

app.registerExtension({
  name: "latentloom.text",
  nodeCreated(node) {
    if (SHOWN_BY_THE_EDITOR.has(node.comfyClass)) return
    const onExecuted = node.onExecuted
    node.onExecuted = function (output) {
      onExecuted?.apply(this, arguments)
      if (!output?.text?.length) return
      const text = output.text.join("\n")
      textWidget(this).value = text
      const characters = Math.max(...text.split("\n").map((line) => line.length))
      const width = Math.min(MAX_WIDTH_PX, characters * CHARACTER_PX + 40)
      if (width > this.size[0]) this.setSize([width, this.size[1]])
    }
  }
})
