/** Status objects of a server as PintleErrors; api-server's status.ts is the other direction. */
import { PintleError, type Cause, type ErrorCode, type ErrorDetails } from '../../../kernel/contract/index.ts';

const byReason: Readonly<Record<string, ErrorCode>> = {
  BadRequest: 'BAD_REQUEST',
  Unauthorized: 'UNAUTHORIZED',
  Forbidden: 'FORBIDDEN',
  NotFound: 'NOT_FOUND',
  MethodNotAllowed: 'METHOD_NOT_ALLOWED',
  NotAcceptable: 'NOT_ACCEPTABLE',
  AlreadyExists: 'ALREADY_EXISTS',
  Conflict: 'CONFLICT',
  Gone: 'EXPIRED',
  Expired: 'EXPIRED',
  RequestEntityTooLarge: 'TOO_LARGE',
  UnsupportedMediaType: 'UNSUPPORTED_MEDIA_TYPE',
  Invalid: 'INVALID',
  TooManyRequests: 'TOO_MANY_REQUESTS',
  InternalError: 'INTERNAL',
  ServiceUnavailable: 'UNAVAILABLE',
  Timeout: 'TIMEOUT',
  ServerTimeout: 'TIMEOUT',
};
const byCode: Readonly<Record<number, ErrorCode>> = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_ALLOWED',
  406: 'NOT_ACCEPTABLE',
  409: 'CONFLICT',
  410: 'EXPIRED',
  413: 'TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  422: 'INVALID',
  429: 'TOO_MANY_REQUESTS',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'TIMEOUT',
};

interface WireStatus {
  readonly kind?: unknown;
  readonly message?: unknown;
  readonly reason?: unknown;
  readonly code?: unknown;
  readonly metadata?: { readonly continue?: string };
  readonly details?: {
    readonly name?: string;
    readonly group?: string;
    readonly kind?: string;
    readonly uid?: string;
    readonly causes?: readonly Partial<Cause>[];
    readonly retryAfterSeconds?: number;
  };
}

export function statusError(document: unknown, httpCode: number, request: string): PintleError {
  const status = (typeof document === 'object' && document !== null ? document : {}) as WireStatus;
  const code =
    (typeof status.reason === 'string' && Object.hasOwn(byReason, status.reason)
      ? byReason[status.reason]
      : undefined) ??
    byCode[typeof status.code === 'number' ? status.code : httpCode] ??
    'INTERNAL';
  const message =
    typeof status.message === 'string' && status.message !== ''
      ? status.message
      : `${request} was answered with HTTP ${httpCode}`;
  const given = status.details ?? {};
  const token = status.metadata?.continue;
  const details: ErrorDetails = {
    ...(typeof token !== 'string' || token === '' ? {} : { continue: token }),
    ...(given.name === undefined ? {} : { name: given.name }),
    ...(given.group === undefined ? {} : { group: given.group }),
    // In an Invalid the wire's kind is the kind, in all others the resource.
    ...(given.kind === undefined ? {} : code === 'INVALID' ? { kind: given.kind } : { resource: given.kind }),
    ...(given.uid === undefined ? {} : { uid: given.uid }),
    ...(given.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: given.retryAfterSeconds }),
    ...(given.causes === undefined
      ? {}
      : {
          causes: given.causes.map(({ reason, message: text, field }) => ({
            reason: reason ?? '',
            message: text ?? '',
            field: field ?? '',
          })),
        }),
  };
  return new PintleError(code, message, { details });
}
