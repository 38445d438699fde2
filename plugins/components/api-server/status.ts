/** Kubernetes `Status` objects and HTTP codes from errors. Nothing else in Pintle makes a Status. */
import { isPintleError, PintleError, type ErrorCode, type ErrorDetails } from '../../../kernel/contract/index.ts';

export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  /** `continue`: with an expired page token, one that goes on with the state of now. */
  readonly metadata: { readonly continue?: string };
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code?: number;
}

interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly { readonly reason?: string; readonly message?: string; readonly field?: string }[];
  readonly retryAfterSeconds?: number;
}

const codes: Partial<Record<ErrorCode, readonly [code: number, reason: string]>> = {
  BAD_REQUEST: [400, 'BadRequest'],
  UNAUTHORIZED: [401, 'Unauthorized'],
  FORBIDDEN: [403, 'Forbidden'],
  NOT_FOUND: [404, 'NotFound'],
  METHOD_NOT_ALLOWED: [405, 'MethodNotAllowed'],
  NOT_ACCEPTABLE: [406, 'NotAcceptable'],
  ALREADY_EXISTS: [409, 'AlreadyExists'],
  CONFLICT: [409, 'Conflict'],
  EXPIRED: [410, 'Expired'],
  TOO_LARGE: [413, 'RequestEntityTooLarge'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'UnsupportedMediaType'],
  INVALID: [422, 'Invalid'],
  TOO_MANY_REQUESTS: [429, 'TooManyRequests'],
  INTERNAL: [500, 'InternalError'],
  UNAVAILABLE: [503, 'ServiceUnavailable'],
  TIMEOUT: [504, 'Timeout'],
  COMPACTED: [410, 'Expired'],
  FUTURE_REVISION: [504, 'Timeout'],
  STORE_READ_ONLY: [503, 'ServiceUnavailable'],
  STORE_CLOSED: [503, 'ServiceUnavailable'],
  CONTAINER_NOT_FOUND: [404, 'NotFound'],
  CONTAINER_NOT_RUNNING: [400, 'BadRequest'],
};

/** Errors of the JavaScript engine and of libraries say too much about the inside: the client gets the kind only. */
export function statusOf(error: unknown): Status & { readonly code: number } {
  if (!isPintleError(error)) return failure(500, 'InternalError', 'Internal error occurred: see the log of the server');
  const [code, reason] = codes[error.code] ?? [500, 'InternalError'];
  const message =
    code === 500 && !/^Internal error/.test(error.message)
      ? `Internal error occurred: ${error.message}`
      : error.message;
  return failure(code, reason, message, error.details);
}

/** True when the error deserves a line in the server's log: nobody expected it. */
export function isUnexpected(error: unknown): boolean {
  return !isPintleError(error) || codes[error.code] === undefined || error.code === 'INTERNAL';
}

function failure(code: number, reason: string, message: string, details: ErrorDetails = {}): Status & { code: number } {
  // Everywhere but in Invalid, details.kind holds the resource ("pods"): client-go and kubectl know it that way.
  const kind = reason === 'Invalid' ? (details.kind ?? details.resource) : (details.resource ?? details.kind);
  const uid = details['uid'];
  const wire: StatusDetails = {
    ...(details.name === undefined ? {} : { name: details.name }),
    ...(details.group === undefined || details.group === '' ? {} : { group: details.group }),
    ...(kind === undefined ? {} : { kind }),
    ...(typeof uid === 'string' ? { uid } : {}),
    ...(details.causes === undefined || details.causes.length === 0 ? {} : { causes: details.causes }),
    ...(details.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: details.retryAfterSeconds }),
  };
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: details.continue === undefined ? {} : { continue: details.continue },
    status: 'Failure',
    message,
    reason,
    ...(Object.keys(wire).length === 0 ? {} : { details: wire }),
    code,
  };
}

/** The answer to a create whose object is not asked for. */
export const createdStatus: Status = {
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  code: 201,
};

/** The answer to a delete that is done. */
export function deletedStatus(details: StatusDetails): Status {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}

/** What kubectl exec and attach read on the error channel when the process has ended. */
export function exitStatus(exit: {
  readonly exitCode: number;
  readonly message?: string | undefined;
}): Omit<Status, 'kind' | 'apiVersion'> {
  if (exit.exitCode === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    message: exit.message ?? `command terminated with non-zero exit code: exit status ${exit.exitCode}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(exit.exitCode) }] },
  };
}

export function noSuchPath(): PintleError {
  return new PintleError('NOT_FOUND', 'the server could not find the requested resource');
}

export function methodNotAllowed(): PintleError {
  return new PintleError('METHOD_NOT_ALLOWED', 'the server does not allow this method on the requested resource');
}

export function badRequest(message: string): PintleError {
  return new PintleError('BAD_REQUEST', message);
}
