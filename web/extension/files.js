// Native YAML in the editor: exported from the File menu, and opened by drop or from the menu.
// The server converts; what a form cannot hold is shown.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const EXPORT = "Latentloom.ExportYaml"
const EXTENSIONS = [".yaml", ".yml"]
const TOAST_MS = 15000
const MAX_LINES = 8
const DEFAULT_NAME = "workflow"

async function convert(text, to) {
  const response = await api.fetchApi("/latentloom/convert", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text, to })
  })
  const result = await response.json()
  if (!response.ok) throw new Error(result.error)
  return result
}

function show(severity, summary, lines) {
  const more = lines.length - MAX_LINES
  const shown = more > 0 ? [...lines.slice(0, MAX_LINES), `and ${more} more`] : lines
  app.extensionManager.toast.add({ severity, summary, detail: shown.join("\n"), life: TOAST_MS })
}

function showLosses(result, target) {
  if (result.not_carried.length) show("warn", `Not in ${target}`, result.not_carried)
  if (result.warnings.length) show("warn", "Warnings", result.warnings)
}

function save(text, name) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([text], { type: "application/yaml" }))
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), TOAST_MS)
}

async function exportYaml() {
  try {
    const { workflow } = await app.graphToPrompt()
    const result = await convert(JSON.stringify(workflow), "yaml")
    const name = app.extensionManager.workflow?.activeWorkflow?.filename ?? DEFAULT_NAME
    save(result.text, `${name}.yaml`)
    showLosses(result, "the YAML file")
  } catch (error) {
    show("error", "The workflow was not exported", [error.message])
  }
}

function isYaml(file) {
  return EXTENSIONS.some((extension) => file.name.toLowerCase().endsWith(extension))
}

async function openYaml(file) {
  try {
    const result = await convert(await file.text(), "editor")
    const name = file.name.replace(/\.\w+$/, "")
    await app.loadGraphData(JSON.parse(result.text), true, true, name)
    showLosses(result, "the editor's workflow")
  } catch (error) {
    show("error", `${file.name} was not opened`, [error.message])
  }
}

app.registerExtension({
  name: "latentloom.files",
  commands: [
    {
      id: EXPORT,
      label: "Export Workflow (Latentloom YAML)",
      menubarLabel: "Export (Latentloom YAML)",
      icon: "pi pi-download",
      function: exportYaml
    }
  ],
  menuCommands: [{ path: ["File"], commands: [EXPORT] }],
  setup() {
    const handleFile = app.handleFile
    app.handleFile = function (file, ...rest) {
      return isYaml(file) ? openYaml(file) : handleFile.call(this, file, ...rest)
    }
    const input = document.getElementById("comfy-file-input")
    if (input?.accept) input.accept += `,${EXTENSIONS.join(",")}`
  }
})
