// Reads diagrams, a list in JSON, from standard input, and prints for each what Mermaid says against it; nothing for a good one. Mermaid
// cleans labels as HTML, for which it wants a browser's DOM.
import { Window } from 'happy-dom';

const window = new Window();
globalThis.window = window;
for (const name of ['document', 'Element', 'HTMLElement', 'HTMLFormElement', 'HTMLTemplateElement', 'SVGElement', 'Node', 'NodeFilter', 'NamedNodeMap', 'DocumentFragment', 'DOMParser']) {
  globalThis[name] = window[name];
}
const { default: mermaid } = await import('mermaid');

let input = '';
for await (const part of process.stdin) input += part;
const faults = [];
for (const diagram of JSON.parse(input)) {
  try {
    await mermaid.parse(diagram);
    faults.push('');
  } catch (error) {
    faults.push(String(error.message ?? error));
  }
}
process.stdout.write(JSON.stringify(faults), () => process.exit(0));
