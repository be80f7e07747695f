// What JavaScript reads: a message in base64 on each line, and one line of JSON for it. Run by parsers_test.go.
import { createInterface } from 'node:readline'

const string = (v) => (typeof v === 'string' ? v : null)

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const m = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(line, 'base64')))
    const p = m.params ?? {}
    const meta = p._meta ?? {}
    answer = {
      version: string(m.jsonrpc), id: m.id === undefined ? null : m.id, method: string(m.method), answers: 'result' in m || 'error' in m,
      name: string(p.name), uri: string(p.uri), ref: p.ref ? [string(p.ref.type), string(p.ref.name), string(p.ref.uri)] : null,
      revision: string(meta['io.modelcontextprotocol/protocolVersion']), task: string(p.taskId), arguments: p.arguments ?? null,
      uris: p.notifications?.resourceSubscriptions ?? null,
    }
  } catch (e) {
    answer = { error: e.message }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
