/**
 * The baseline of the API suite: an HTTP server of Node on a unix socket that keeps objects in a Map and does nothing
 * else of what an API server does. Ends with its parent.
 */
import { createServer } from 'node:http';

const objects = new Map<string, string>();

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const path = (request.url ?? '').split('?')[0]!;
    const name = path.split('/').at(-1)!;
    response.setHeader('content-type', 'application/json');
    if (request.method === 'GET' && name === 'configmaps') {
      response.end(`{"items":[${[...objects.values()].join(',')}]}`);
      return;
    }
    if (request.method === 'GET') {
      response.end(objects.get(name) ?? '{}');
      return;
    }
    if (request.method === 'DELETE') {
      response.end(objects.delete(name) ? '{}' : undefined);
      return;
    }
    const text = Buffer.concat(chunks).toString();
    const object = JSON.parse(text) as { readonly metadata: { readonly name: string } };
    objects.set(object.metadata.name, text);
    response.statusCode = request.method === 'POST' ? 201 : 200;
    response.end(text);
  });
});
server.listen(process.argv[2], () => process.send?.('ready'));
process.on('disconnect', () => process.exit(0));
