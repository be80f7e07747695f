// A real identity provider for a test: node provider.mjs PACKAGE KEY CERTIFICATE. It says its URL, and then obeys one command a
// line: "add ALGORITHM ID" publishes a key, "sign ID SCOPES" prints a token of alice that is signed with it.
import { createInterface } from 'node:readline';

const [, , library, key, certificate] = process.argv;
const { Events, OAuth2Server } = await import(library);
const server = new OAuth2Server(key, certificate);
// The audience is the resource that the client asks for (RFC 8707).
server.service.on(Events.BeforeTokenSigning, (token, request) => { token.payload.aud ??= request.body.resource; });
await server.start(0, '127.0.0.1');
console.log(server.issuer.url);
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(' ');
  if (command === 'add') {
    await server.issuer.keys.generate(words[0], { kid: words[1] });
    console.log('added');
  } else {
    const scopesOrTransform = (_, payload) => Object.assign(payload, { sub: 'alice', aud: 'mcp', scope: words.slice(1).join(' ') });
    console.log(await server.issuer.buildToken({ kid: words[0], scopesOrTransform, expiresIn: 600 }));
  }
}
await server.stop();
