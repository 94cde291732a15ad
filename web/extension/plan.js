// Shows on each node whether a run would reuse its output or run it again, and why,
// before anything is queued.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const COLOURS = { run: "#b4690e", reuse: "#1f7a3d", skip: "#555555" }
const WAIT_MS = 500
const LONGEST = 44

let steps = {}
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
  steps = answer.ok ? (await answer.json()).nodes : {}
  app.graph.setDirtyCanvas(true, true)
}

function soon() {
  clearTimeout(timer)
  timer = setTimeout(() => ask().catch(() => { steps = {} }), WAIT_MS)
}

function badge(node) {
  const step = steps[String(node.id)]
  const text = step ? `${step.action}: ${step.why}` : ""
  return new window.LGraphBadge({
    text: text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text,
    fgColor: "#ffffff",
    bgColor: step ? COLOURS[step.action] : "transparent"
  })
}

app.registerExtension({
  name: "latentloom.plan",
  nodeCreated(node) {
    node.badges?.push(() => badge(node))
    soon()
  },
  async setup() {
    api.addEventListener("graphChanged", soon)
    api.addEventListener("execution_success", () => { asked = ""; soon() })
    api.addEventListener("execution_error", () => { asked = ""; soon() })
  },
  async afterConfigureGraph() { soon() }
})
