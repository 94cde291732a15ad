// Badges on each node: whether a run would reuse its output or run it again, why, and warnings.
// A node's menu shows the full text.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const COLOURS = { run: "#b4690e", reuse: "#1f7a3d", skip: "#555555", warnings: "#8a2be2" }
const DELAY_MS = 500
const TOAST_MS = 15000
const CHARACTER_PX = 6.6
const MARGIN_CHARACTERS = 2
const MIN_CHARACTERS = 8

let steps = {}
let warnings = []
let timer = 0
let lastBody = ""

async function requestPlan() {
  const { output } = await app.graphToPrompt()
  const body = JSON.stringify({ prompt: output })
  if (body === lastBody) return
  lastBody = body
  const response = await api.fetchApi("/latentloom/plan", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body
  })
  const plan = response.ok ? await response.json() : { nodes: {}, warnings: [] }
  steps = plan.nodes
  warnings = plan.warnings
  app.graph.setDirtyCanvas(true, true)
}

function clearPlan() {
  steps = {}
  warnings = []
}

function schedulePlan() {
  clearTimeout(timer)
  timer = setTimeout(() => requestPlan().catch(clearPlan), DELAY_MS)
}

function refreshPlan() {
  lastBody = ""
  schedulePlan()
}

function stepText(node) {
  const step = steps[String(node.id)]
  return step ? `${step.action}: ${step.why}` : ""
}

// After a run most nodes are skipped because nothing needs them; the reason would only be noise.
function shortStepText(node) {
  return steps[String(node.id)]?.action === "skip" ? "skip" : stepText(node)
}

function warningsOf(node) {
  return warnings.filter((warning) => warning.node === String(node.id))
}

// The number of characters that fit above a node, besides `taken` others.
function availableCharacters(node, taken = 0) {
  const characters = Math.floor(node.size[0] / CHARACTER_PX)
  return Math.max(MIN_CHARACTERS, characters - MARGIN_CHARACTERS - taken)
}

function truncate(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text
}

function badge(text, colour) {
  return new window.LGraphBadge({
    text,
    fgColor: "#ffffff",
    bgColor: text ? colour : "transparent"
  })
}

function planBadge(node) {
  const available = availableCharacters(node)
  const length = warningsOf(node).length ? Math.floor(available / 2) : available
  return badge(truncate(shortStepText(node), length), COLOURS[steps[String(node.id)]?.action])
}

function warningBadge(node) {
  const text = warningsOf(node).map((warning) => warning.text).join("; ")
  const half = Math.floor(availableCharacters(node) / 2)
  const taken = Math.min(shortStepText(node).length, half) + MARGIN_CHARACTERS
  return badge(truncate(text, availableCharacters(node, taken)), COLOURS.warnings)
}

function showDetails(node) {
  const lines = warningsOf(node).map((warning) => `${warning.text}.\nTry: ${warning.hint}.`)
  app.extensionManager.toast.add({
    severity: lines.length ? "warn" : "info",
    summary: stepText(node),
    detail: lines.join("\n\n"),
    life: TOAST_MS
  })
}

app.registerExtension({
  name: "latentloom.plan",
  nodeCreated(node) {
    node.badges?.push(() => planBadge(node), () => warningBadge(node))
    schedulePlan()
  },
  getNodeMenuItems(node) {
    if (!stepText(node) && !warningsOf(node).length) return []
    return [{ content: "Why it runs, and warnings", callback: () => showDetails(node) }]
  },
  async setup() {
    api.addEventListener("graphChanged", schedulePlan)
    api.addEventListener("execution_success", refreshPlan)
    api.addEventListener("execution_error", refreshPlan)
  },
  async afterConfigureGraph() { schedulePlan() }
})
