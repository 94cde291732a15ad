// Shows on each node whether a run would reuse its output or run it again, and why, and what it
// hardly means to do, before anything is queued. A node's menu tells the whole of it.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const COLOURS = { run: "#b4690e", reuse: "#1f7a3d", skip: "#555555", warnings: "#8a2be2" }
const WAIT_MS = 500
const READ_MS = 15000
const LETTER_PX = 6.6
const MARGIN = 2

let steps = {}
let warnings = []
let timer = 0
let asked = ""

async function ask() {
  const { output } = await app.graphToPrompt()
  const text = JSON.stringify({ prompt: output })
  if (text === asked) return
  asked = text
  const answer = await api.fetchApi("/latentloom/plan", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: text
  })
  const found = answer.ok ? await answer.json() : { nodes: {}, warnings: [] }
  steps = found.nodes
  warnings = found.warnings
  app.graph.setDirtyCanvas(true, true)
}

function forget() {
  steps = {}
  warnings = []
}

function soon() {
  clearTimeout(timer)
  timer = setTimeout(() => ask().catch(forget), WAIT_MS)
}

function again() {
  asked = ""
  soon()
}

function stepOf(node) {
  const step = steps[String(node.id)]
  return step ? `${step.action}: ${step.why}` : ""
}

// That nothing needs a node says little, and most nodes are so after a run.
function shortStepOf(node) {
  return steps[String(node.id)]?.action === "skip" ? "skip" : stepOf(node)
}

function warningsOf(node) {
  return warnings.filter((each) => each.node === String(node.id))
}

// How many letters fit above a node, beside what else is there.
function room(node, taken = 0) {
  return Math.max(8, Math.floor(node.size[0] / LETTER_PX) - MARGIN - taken)
}

function cut(text, longest) {
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text
}

function badge(text, colour) {
  return new window.LGraphBadge({
    text,
    fgColor: "#ffffff",
    bgColor: text ? colour : "transparent"
  })
}

function planBadge(node) {
  const most = warningsOf(node).length ? Math.floor(room(node) / 2) : room(node)
  return badge(cut(shortStepOf(node), most), COLOURS[steps[String(node.id)]?.action])
}

function warningBadge(node) {
  const text = warningsOf(node).map((each) => each.text).join("; ")
  const taken = Math.min(shortStepOf(node).length, Math.floor(room(node) / 2)) + MARGIN
  return badge(cut(text, room(node, taken)), COLOURS.warnings)
}

function tell(node) {
  const lines = warningsOf(node).map((each) => `${each.text}.\nTry: ${each.hint}.`)
  app.extensionManager.toast.add({
    severity: lines.length ? "warn" : "info",
    summary: stepOf(node),
    detail: lines.join("\n\n"),
    life: READ_MS
  })
}

app.registerExtension({
  name: "latentloom.plan",
  nodeCreated(node) {
    node.badges?.push(() => planBadge(node), () => warningBadge(node))
    soon()
  },
  getNodeMenuItems(node) {
    if (!stepOf(node) && !warningsOf(node).length) return []
    return [{ content: "Why it runs, and warnings", callback: () => tell(node) }]
  },
  async setup() {
    api.addEventListener("graphChanged", soon)
    api.addEventListener("execution_success", again)
    api.addEventListener("execution_error", again)
  },
  async afterConfigureGraph() { soon() }
})
