import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import test from 'ava';
import { hasLost, holdConnections } from '../../../plugins/clusters/remote/held-connections.ts';

test('an address is lost when nothing may be sent from it any more', async (t) => {
  t.false(await hasLost('127.0.0.1'));
  // On no list of interfaces, but the node's all the same.
  t.false(await hasLost('127.9.8.7'));
  t.true(await hasLost('192.0.2.77'));
});

test('connections from an address that the node has lost end, the others stay', async (t) => {
  const server = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const from = async (localAddress: string): Promise<Socket> => {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  const lost = new Set<string>();
  const connections = holdConnections(async (address) => lost.has(address));
  t.teardown(() => connections.close());
  const [moving, staying] = [await from('127.0.0.2'), await from('127.0.0.3')];
  for (const socket of [moving, moving, staying]) connections.hold(socket);
  lost.add('127.0.0.2');
  const [error] = (await once(moving, 'error')) as [Error];
  t.is(error.message, 'this node has lost its address 127.0.0.2');
  t.false(staying.destroyed);
});
