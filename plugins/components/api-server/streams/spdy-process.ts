/** exec and attach over SPDY/3.1 (kubectl up to 1.29): one SPDY stream a channel, named by its `streamtype` header. */
import type { SpdyConnection, SpdyStream } from '../../../../kernel/machinery/spdy/spdy-connection.ts';
import { terminalSize, type ClientChannels } from './carry-process.ts';

export const spdyProcessProtocols = ['v4.channel.k8s.io'] as const;
/** kube-apiserver's time for all streams to be there. */
const streamsTimeoutMs = 30_000;

const closeGraceMs = 10_000;

/** Waits for the streams that the request announced. Rejects when they do not come. */
export async function spdyChannels(
  connection: SpdyConnection,
  wants: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean; readonly tty: boolean },
): Promise<ClientChannels> {
  const names = ['error'];
  if (wants.stdin) names.push('stdin');
  if (wants.stdout) names.push('stdout');
  if (wants.stderr && !wants.tty) names.push('stderr');
  if (wants.tty) names.push('resize');
  const streams = await gather(connection, names);
  const resize = streams.get('resize');
  return {
    stdin: streams.get('stdin'),
    stdout: streams.get('stdout'),
    stderr: streams.get('stderr'),
    onResize(listener) {
      if (resize === undefined) return;
      // Newline JSON, as Go's json.Encoder writes it.
      let rest = '';
      resize.on('data', (chunk: Buffer) => {
        rest += chunk.toString();
        const lines = rest.split('\n');
        rest = (lines.pop() ?? '').slice(0, 1024);
        for (const line of lines) {
          const size = terminalSize(line);
          if (size !== undefined) listener(size);
        }
      });
    },
    onClose: (listener) => connection.onClose(listener),
    finish(status) {
      streams.get('stdout')?.end();
      streams.get('stderr')?.end();
      const error = streams.get('error');
      // The client closes when it has read everything. A close from here could overtake what it has not read yet.
      error?.end(JSON.stringify(status), () => setTimeout(() => connection.close(), closeGraceMs).unref());
    },
  };
}

function gather(connection: SpdyConnection, names: readonly string[]): Promise<ReadonlyMap<string, SpdyStream>> {
  return new Promise((resolve, reject) => {
    const found = new Map<string, SpdyStream>();
    const fail = (why: string): void => {
      clearTimeout(timer);
      // Settled already: the client goes away long after its streams were open.
      if (found.size === names.length) return;
      reject(new Error(why));
      connection.close();
    };
    const timer = setTimeout(() => fail('the client did not open all streams in time'), streamsTimeoutMs);
    connection.onClose(() => fail('the client went away before all streams were open'));
    connection.onStream((stream) => {
      const name = stream.headers.get('streamtype') ?? '';
      if (!names.includes(name) || found.has(name)) {
        stream.destroy();
        return;
      }
      found.set(name, stream);
      if (found.size < names.length) return;
      clearTimeout(timer);
      resolve(found);
    });
  });
}
