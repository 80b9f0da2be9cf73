// node compile.mjs <file.vue or file.svelte>: compiles a component, its template included, and fails on every error and warning.
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const [file] = process.argv.slice(2);
const source = readFileSync(file, "utf8");
const complaints = [];
if (file.endsWith(".svelte")) {
  const { compile } = await import("svelte/compiler");
  complaints.push(...compile(source, { filename: basename(file) }).warnings.map(({ code, message }) => `${code}: ${message}`));
} else {
  const { compileScript, compileTemplate, parse } = await import("@vue/compiler-sfc");
  const { descriptor, errors } = parse(source, { filename: basename(file) });
  const { bindings } = compileScript(descriptor, { id: "sample" });
  const template = compileTemplate({
    source: descriptor.template.content,
    filename: basename(file),
    id: "sample",
    compilerOptions: { bindingMetadata: bindings, expressionPlugins: ["typescript"] },
  });
  complaints.push(...errors, ...template.errors);
}
for (const complaint of complaints) console.error(String(complaint));
process.exitCode = complaints.length ? 1 : 0;
