/**
 * The one error type of the project.
 *
 * A `PintleError` has a stable `code` (API; messages are not), `details` (plain data), and a `cause`. It is recognised by
 * a brand, not by `instanceof`, so that two copies of this package agree. Message form: subject, what happened, what was
 * expected, what to do. An expected "no" is a return value, not an error. Cancelled work rejects with `signal.reason`.
 */
const brand: unique symbol = Symbol.for('pintle.error') as never;

/** Codes of the kernel: catalogue, config, life cycle. */
export const kernelCodes = {
  CONFIG_INVALID: 'The config file is wrong; details.issues name line, column, and what was expected.',
  PLUGIN_UNKNOWN: 'No plugin of that kind has this name; details.known lists those that exist.',
  PLUGIN_DUPLICATE: 'Two plugins claim one kind and name; details.origins names both.',
  PLUGIN_INVALID: 'A loaded module exports no valid plugin value; ask its author.',
  PLUGIN_LOAD_FAILED: 'A plugin module could not be imported; see cause.',
  PLUGIN_UNSUPPORTED: 'No choice of a kind can run on this host; details.reasons has one reason a choice.',
  PLUGIN_NEED_MISSING: 'A plugin needs a kind that is not configured in this process.',
  PLUGIN_CYCLE: 'Plugins need each other in a circle; details.path shows it.',
  PLUGIN_START_FAILED: 'A plugin threw in start; see cause.',
  PLUGIN_START_TIMEOUT: 'A plugin did not start within its deadline; details.timeline shows the others.',
  PLUGIN_STOP_FAILED: 'One or more plugins failed to stop; every stop was attempted.',
} as const;

/** Codes of the Kubernetes API, one for each pair of HTTP status and reason. Made by `cluster`, mapped by the API server. */
export const apiCodes = {
  BAD_REQUEST: 'The request is malformed (400 BadRequest).',
  UNAUTHORIZED: 'The caller is unknown (401 Unauthorized).',
  FORBIDDEN: 'The caller may not do this (403 Forbidden).',
  NOT_FOUND: 'The object or resource does not exist (404 NotFound).',
  METHOD_NOT_ALLOWED: 'The resource does not support this verb (405 MethodNotAllowed).',
  NOT_ACCEPTABLE: 'No acceptable response encoding (406 NotAcceptable).',
  ALREADY_EXISTS: 'An object of this name exists (409 AlreadyExists).',
  CONFLICT: 'resourceVersion or a precondition does not match: read again and retry (409 Conflict).',
  EXPIRED: 'The revision or continue token is compacted: list again (410 Expired).',
  TOO_LARGE: 'The request body is larger than 3 MiB (413 RequestEntityTooLarge).',
  UNSUPPORTED_MEDIA_TYPE: 'The body has a content type that is not understood (415 UnsupportedMediaType).',
  INVALID: 'The object breaks its schema or rules; details.causes has one entry a field (422 Invalid).',
  TOO_MANY_REQUESTS: 'Try again after details.retryAfterSeconds (429 TooManyRequests).',
  INTERNAL: 'The server failed (500 InternalError).',
  UNAVAILABLE: 'The server cannot serve now: starting, stopping, disk full (503 ServiceUnavailable).',
  TIMEOUT: 'A wait came to its limit (in the API: 504 Timeout).',
} as const;

/** Codes of the store. */
export const storeCodes = {
  COMPACTED:
    'The asked revision is older than the compacted one; details.compacted has it. List again and watch from there.',
  FUTURE_REVISION: 'The asked revision has not happened yet.',
  STORE_READ_ONLY: 'The store cannot write (disk full, read-only file system). Nothing of the transaction was written.',
  STORE_INVALID: 'A call breaks the rules of the store: key or value too long, one key twice in a transaction.',
  STORE_FAILED: 'The store failed; see cause.',
  STORE_CLOSED: 'The store has been disposed.',
} as const;

/** Codes of runtime, attachment, overlay, proxy and volume. */
export const nodeCodes = {
  UNSUPPORTED: 'The plugin does not declare the capability that this call needs.',
  IMAGE_NOT_FOUND: 'The image is not present and cannot be pulled.',
  SANDBOX_NOT_FOUND: 'No sandbox has this id.',
  CONTAINER_NOT_FOUND: 'No container has this id.',
  CONTAINER_INVALID: 'The container cannot be created as specified (the reason is in the message).',
  CONTAINER_START_FAILED: 'The container could not be started: command not found, not executable ...',
  CONTAINER_NOT_RUNNING: 'exec, attach or stats on a container that does not run.',
  VOLUME_NOT_FOUND: 'What the volume stands for is not there: its folder, device or share.',
  VOLUME_INVALID: 'The volume cannot be made or mounted as specified (the reason is in the message).',
  VOLUME_NO_ROOM: 'There is no room for a volume of this size here.',
  ADDRESSES_EXHAUSTED: 'No free address is left in the pod CIDR.',
  HOST_COMMAND_FAILED: 'A host command failed; details has argv, exitCode and the last lines of stderr.',
  KERNEL_REFUSED: 'The Linux kernel refused a request; details.errno and details.extack say why.',
} as const;

/** `pintle bench`. */
export const benchCodes = {
  BENCH_INVALID: 'A file or option of the benchmark cannot be used: no result file, an unknown cell, no such plugin.',
  BENCH_FAILED: 'A measurement could not be made: a tool failed, a process of the benchmark ended.',
} as const;

export type ErrorCode = keyof (typeof kernelCodes &
  typeof apiCodes &
  typeof storeCodes &
  typeof nodeCodes &
  typeof benchCodes);

/** One broken field of an object: Kubernetes' StatusCause. */
export interface Cause {
  /** e.g. FieldValueRequired, FieldValueInvalid, FieldValueDuplicate, FieldValueNotSupported, FieldValueForbidden. */
  readonly reason: string;
  readonly message: string;
  /** JSON path with dots and brackets: spec.containers[0].name */
  readonly field: string;
}

export interface ErrorDetails {
  readonly causes?: readonly Cause[];
  readonly retryAfterSeconds?: number;
  /** EXPIRED of a paged list: a token that goes on with the state of now (metadata.continue of the Status). */
  readonly continue?: string;
  /** API errors: the resource (plural), its group, and the object's name. */
  readonly group?: string;
  readonly resource?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly [key: string]: unknown;
}

export class PintleError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  readonly [brand] = true;

  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'PintleError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** True for a PintleError of any copy of this package; with `code`, only for that code. */
export function isPintleError(value: unknown, ...codes: ErrorCode[]): value is PintleError {
  if (typeof value !== 'object' || value === null || (value as Record<PropertyKey, unknown>)[brand] !== true)
    return false;
  return codes.length === 0 || codes.includes((value as PintleError).code);
}
