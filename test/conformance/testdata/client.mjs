// A client of the TypeScript SDKs, run by clients_test.go: node client.mjs URL RESUMABLE v1|v2 legacy|modern. It does what agents do, and
// writes what it saw, one JSON line for each step.
const [url, resumable, sdk, era] = process.argv.slice(2)
const modern = era === 'modern'
const v1 = sdk === 'v1'

const base = v1 ? '@modelcontextprotocol/sdk' : '@modelcontextprotocol/client'
const { Client, StreamableHTTPClientTransport, schemas } = v1
  ? { ...(await import(base + '/client/index.js')), ...(await import(base + '/client/streamableHttp.js')), schemas: await import(base + '/types.js') }
  : await import(base)

// The first SDK names what is handled by its schema, the second by its method.
const method = (name, schema) => (v1 ? schemas[schema] : name)

const say = (step, seen) => console.log(JSON.stringify({ step, seen }))
const text = (result) => (result.isError ? 'error: ' : '') + result.content.map((c) => c.text).join('')
const fails = async (step, promise) =>
  promise.then((result) => say(step, { result }), (e) => say(step, { code: e.code ?? 0, name: e.constructor.name, message: e.message }))
const within = (promise) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error('nothing came')), 60_000))])

let asked = () => ({ action: 'accept', content: modern ? { name: 'ann' } : { username: 'ann' } })

async function connect(to = url) {
  const client = new Client({ name: 'agent', version: '1' }, {
    capabilities: { elicitation: {} },
    ...(v1 ? {} : { versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' } }),
  })
  client.setRequestHandler(method('elicitation/create', 'ElicitRequestSchema'), () => asked())
  const transport = new StreamableHTTPClientTransport(new URL(to))
  await client.connect(transport)
  return { client, transport }
}

let { client, transport } = await connect()
say('connected', client.getServerVersion().name)

say('tools', (await client.listTools()).tools.map((t) => t.name).sort())
say('prompts', (await client.listPrompts()).prompts.map((p) => p.name).sort())
say('resources', (await client.listResources()).resources.map((r) => r.uri).sort())
say('templates', (await client.listResourceTemplates()).resourceTemplates.map((t) => t.uriTemplate).sort())

say('call', text(await client.callTool({ name: 'test_simple_text', arguments: {} })))
say('error of the tool', text(await client.callTool({ name: 'test_error_handling', arguments: {} })))
await fails('refused tool', client.callTool({ name: 'test_image_content', arguments: {} }))
say('prompt', (await client.getPrompt({ name: 'test_prompt_with_arguments', arguments: { arg1: 'one', arg2: 'two' } })).messages[0].content.text)
await fails('refused prompt', client.getPrompt({ name: 'test_simple_prompt' }))
say('resource', (await client.readResource({ uri: 'test://static-text' })).contents[0].text)
await fails('refused resource', client.readResource({ uri: 'test://static-binary' }))

const progress = []
await client.callTool({ name: 'test_tool_with_progress', arguments: {} }, ...(v1 ? [undefined] : []), { onprogress: (p) => progress.push(p.progress) })
say('progress', progress)

// What the server asks of the user: by a request in a session, by an answer that wants more else.
say('elicited', text(await client.callTool(modern
  ? { name: 'test_input_required_result_elicitation', arguments: {} }
  : { name: 'test_elicitation', arguments: { message: 'who?' } })))

// Cancelled while the call is under way: the user takes no decision, or the progress has begun.
const cancel = new AbortController()
if (modern) {
  await fails('cancelled', client.callTool({ name: 'test_tool_with_progress', arguments: {} }, { signal: cancel.signal, onprogress: () => cancel.abort('enough') }))
} else {
  asked = () => {
    cancel.abort('enough')
    return new Promise(() => {})
  }
  await fails('cancelled', client.callTool({ name: 'test_elicitation', arguments: { message: 'who?' } }, ...(v1 ? [undefined] : []), { signal: cancel.signal }))
}
say('after a cancelled call', text(await client.callTool({ name: 'test_simple_text', arguments: {} })))

// Updates of a resource and of the list of tools.
const updated = new Promise((yes) => client.setNotificationHandler(method('notifications/resources/updated', 'ResourceUpdatedNotificationSchema'), (n) => yes(n.params.uri)))
const changed = new Promise((yes) => client.setNotificationHandler(method('notifications/tools/list_changed', 'ToolListChangedNotificationSchema'), () => yes('changed')))
if (modern) {
  const subscription = await client.listen({ resourceSubscriptions: ['test://watched-resource'], toolsListChanged: true })
  await client.callTool({ name: 'test_trigger_tool_change', arguments: {} })
  say('updated', await within(updated))
  say('list changed', await within(changed))
  await subscription.close()
  say('closed', await within(subscription.closed))
  await fails('refused subscription', client.listen({ resourceSubscriptions: ['test://static-binary'] }))
} else {
  await client.subscribeResource({ uri: 'test://watched-resource' })
  await client.callTool({ name: 'test_trigger_tool_change', arguments: {} })
  say('updated', await within(updated))
  say('list changed', await within(changed))
  await client.unsubscribeResource({ uri: 'test://watched-resource' })
  await fails('refused subscription', client.subscribeResource({ uri: 'test://static-binary' }))
  await transport.terminateSession()
  say('terminated', transport.sessionId === undefined)
}
await client.close()

;({ client, transport } = await connect())
say('connected again', text(await client.callTool({ name: 'test_simple_text', arguments: {} })))
await client.close()

if (!modern) {
  // This server ends the stream of the call before the answer; the client resumes it.
  ;({ client } = await connect(resumable))
  say('resumed', text(await client.callTool({ name: 'test_reconnection', arguments: {} })))
  await client.close()
}
process.exit(0)
