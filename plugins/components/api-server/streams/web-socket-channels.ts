/**
 * Channels in one WebSocket (v4 and v5.channel.k8s.io): the first byte of each message is its channel. v5 adds channel
 * 255, "close the channel in the next byte": the half-close that stdin needs.
 */
import { PassThrough, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { terminalSize, type ClientChannels } from './carry-process.ts';

export const processProtocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;

const channelNumbers = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export function webSocketChannels(
  webSocket: WebSocket,
  wants: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean; readonly tty: boolean },
): ClientChannels {
  const stdin = wants.stdin ? new PassThrough() : undefined;
  let isOver = false;
  let onResize: (size: { readonly columns: number; readonly rows: number }) => void = () => undefined;
  webSocket.on('message', (data) => {
    const message = bytesOf(data);
    if (message.length === 0) return;
    const payload = message.subarray(1);
    switch (message[0]) {
      case channelNumbers.stdin:
        if (stdin === undefined || stdin.writableEnded || payload.length === 0 || isOver) return;
        if (!stdin.write(payload)) webSocket.pause();
        return;
      case channelNumbers.resize: {
        const size = terminalSize(payload.toString());
        if (size !== undefined) onResize(size);
        return;
      }
      case channelNumbers.close:
        if (webSocket.protocol === 'v5.channel.k8s.io' && payload[0] === channelNumbers.stdin) stdin?.end();
        return;
      default:
        // A client has nothing to say on the other channels.
        return;
    }
  });
  // Not "drain" alone: a stream that has been ended emits none.
  for (const event of ['drain', 'finish', 'close']) stdin?.on(event, () => webSocket.resume());
  webSocket.resume();
  return {
    stdin,
    stdout: wants.stdout ? channelWriter(webSocket, channelNumbers.stdout) : undefined,
    stderr: wants.stderr && !wants.tty ? channelWriter(webSocket, channelNumbers.stderr) : undefined,
    onResize(listener) {
      onResize = listener;
    },
    onClose(listener) {
      webSocket.once('close', listener);
    },
    finish(status) {
      webSocket.send(Buffer.concat([Buffer.from([channelNumbers.error]), Buffer.from(JSON.stringify(status))]));
      webSocket.close(1000);
      // The client's answer may wait behind input that nobody reads any more.
      isOver = true;
      webSocket.resume();
    },
  };
}

export function bytesOf(data: RawData): Buffer {
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);
}

/** Writes to one channel; the next write waits until this one has left for the socket. */
export function channelWriter(webSocket: WebSocket, channel: number): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, callback) {
      if (webSocket.readyState !== webSocket.OPEN) {
        callback();
        return;
      }
      webSocket.send(Buffer.concat([Buffer.from([channel]), chunk]), () => callback());
    },
  });
}
