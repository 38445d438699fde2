/**
 * A client of the gRPC health protocol (grpc.health.v1.Health/Check) over clear-text HTTP/2: one call, one connection.
 *
 *   message  | 0, 1 byte: not compressed | length, 4 bytes big-endian | protobuf |
 *   HealthCheckRequest  { string service = 1 }      HealthCheckResponse { ServingStatus status = 1 }
 */
import { connect, type IncomingHttpHeaders } from 'node:http2';
import type { ActionOutcome } from './action-outcome.ts';

const servingStates = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
/** grpc-status codes that kubelet words in their own way. */
const grpcCodes = { deadlineExceeded: '4', notFound: '5', unimplemented: '12' } as const;
const maxAnswerBytes = 64 * 1024;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 0x7f) | 0x80);
  }
}

export function healthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a]), varint(name.length), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The name of the status; undefined when the answer is no HealthCheckResponse. */
export function servingState(answer: Buffer): string | undefined {
  if (answer.length < 5 || answer[0] !== 0) return undefined;
  const message = answer.subarray(5, 5 + answer.readUInt32BE(1));
  if (message.length === 0) return servingStates[0];
  return message.length === 2 && message[0] === 0x08 ? servingStates[message[1]!] : undefined;
}

function outcomeOf(trailers: IncomingHttpHeaders, answer: Buffer): ActionOutcome {
  const code = String(trailers['grpc-status'] ?? '');
  const text = String(trailers['grpc-message'] ?? '');
  if (code === grpcCodes.unimplemented)
    return {
      ok: false,
      message: `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${text}`,
    };
  if (code !== '0') return { ok: false, message: `error: health rpc probe failed: code ${code || 'missing'}: ${text}` };
  const state = servingState(answer);
  if (state === 'SERVING') return { ok: true, message: 'service healthy' };
  return { ok: false, message: `service unhealthy (responded with "${state ?? 'no HealthCheckResponse'}")` };
}

export function checkGrpcHealth(
  target: { readonly host: string; readonly port: number; readonly service?: string | undefined },
  timeoutMs: number,
): Promise<ActionOutcome> {
  const address = target.host.includes(':') ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`;
  return new Promise((resolve) => {
    const session = connect(`http://${address}`);
    const finish = (outcome: ActionOutcome) => {
      clearTimeout(timer);
      session.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(
      () => finish({ ok: false, message: `timeout: health rpc did not complete within ${timeoutMs / 1000}s` }),
      timeoutMs,
    );
    session.on('error', (error) =>
      finish({ ok: false, message: `error: failed to connect service "${address}": ${error.message}` }),
    );
    session.once('connect', () => {
      if (session.destroyed) return;
      const stream = session.request({
        ':method': 'POST',
        ':path': '/grpc.health.v1.Health/Check',
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': 'kube-probe/1.36',
      });
      const pieces: Buffer[] = [];
      let trailers: IncomingHttpHeaders = {};
      let size = 0;
      // A server that refuses at once says so in the headers, and sends no trailers.
      stream.on('response', (headers) => (trailers = headers));
      stream.on('trailers', (headers) => (trailers = headers));
      stream.on('data', (chunk: Buffer) => {
        if ((size += chunk.length) > maxAnswerBytes) stream.destroy(new Error('the answer is too long'));
        else pieces.push(chunk);
      });
      stream.on('error', (error) => finish({ ok: false, message: `error: health rpc probe failed: ${error.message}` }));
      stream.on('end', () => finish(outcomeOf(trailers, Buffer.concat(pieces))));
      stream.end(healthRequest(target.service ?? ''));
    });
  });
}
