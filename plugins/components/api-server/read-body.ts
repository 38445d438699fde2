/** Reads a request's body within a size and a time, and takes no compressed bodies: a bomb is a few bytes on the wire. */
import { PintleError } from '../../../kernel/contract/index.ts';
import type { HttpRequest } from './http-exchange.ts';

/** kube-apiserver's limit. */
const maxBodyBytes = 3 * 1024 * 1024;

export function readBody(request: HttpRequest, limits: { readonly timeoutMs: number }): Promise<Buffer> {
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > maxBodyBytes) return Promise.reject(tooLarge());
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    return Promise.reject(
      new PintleError(
        'UNSUPPORTED_MEDIA_TYPE',
        `request bodies with content-encoding "${encoding}" are not supported: send it plain`,
      ),
    );
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (act: () => void): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('error', onError).off('aborted', onAborted);
      act();
    };
    const fail = (error: unknown): void =>
      finish(() => {
        // Nothing further is kept; `send` closes the connection because the request is not complete.
        request.resume();
        reject(error as Error);
      });
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > maxBodyBytes) fail(tooLarge());
      else chunks.push(chunk);
    };
    const onEnd = (): void =>
      finish(() => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
    const onError = (error: unknown): void =>
      fail(new PintleError('BAD_REQUEST', 'the request body could not be read', { cause: error }));
    const onAborted = (): void =>
      fail(new PintleError('BAD_REQUEST', 'the client went away before the end of its request body'));
    const timer = setTimeout(
      () => fail(new PintleError('TIMEOUT', `the request body did not arrive within ${limits.timeoutMs} ms`)),
      limits.timeoutMs,
    );
    request.on('data', onData).on('end', onEnd).on('error', onError).on('aborted', onAborted);
  });
}

function tooLarge(): PintleError {
  return new PintleError('TOO_LARGE', `Request entity too large: limit is ${maxBodyBytes}`);
}
