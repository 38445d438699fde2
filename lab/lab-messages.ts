/** What a lab's main process says on its standard output, one JSON object a line, and the reader for it. */
export type LabMessage =
  /** The host checks of the node's plugins; the lab goes on only when all hold. */
  | { readonly type: 'checked'; readonly problems: readonly string[] }
  | { readonly type: 'network'; readonly ms: number }
  | { readonly type: 'agent-started'; readonly node: string; readonly pid: number }
  | {
      readonly type: 'agent-ended';
      readonly node: string;
      readonly exitCode: number | null;
      readonly signal: string | null;
    }
  | { readonly type: 'failed'; readonly message: string };

export function writeMessage(message: LabMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

export function readMessages(stream: NodeJS.ReadableStream, onMessage: (message: LabMessage) => void): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    rest += chunk.toString('utf8');
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      if (line.startsWith('{')) onMessage(JSON.parse(line) as LabMessage);
    }
  });
}
