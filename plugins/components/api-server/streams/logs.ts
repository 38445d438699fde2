/** GET pods/NAME/log: the container's output as plain text, with or without following it. */
import type { Readable } from 'node:stream';
import type { Cluster, ClusterServer, LogRequest, Logger } from '../../../../kernel/contract/index.ts';
import { PintleError, type Cause } from '../../../../kernel/contract/index.ts';
import type { Exchange, HttpResponse } from '../http-exchange.ts';
import { linkSignals } from '../linked-signal.ts';
import { badRequest } from '../status.ts';
import { containerOf, nodeServiceOf, podOf, type PodKey } from './pod-container.ts';

interface LogContext {
  readonly cluster: Cluster;
  readonly server: ClusterServer;
  readonly log: Logger;
  readonly now: () => number;
  readonly stopping: AbortSignal;
}

type LogFilter = Omit<LogRequest, 'namespace' | 'pod' | 'podUid' | 'container'>;

export async function sendLogs(exchange: Exchange, key: PodKey, context: LogContext): Promise<void> {
  const filter = logFilter(exchange.query, context.now());
  const pod = await podOf(context.cluster, key, exchange.user);
  const container = containerOf(pod, exchange.query.get('container'));
  const { response } = exchange;
  const begin = (): void => {
    response.setHeader('content-type', 'text/plain');
    response.statusCode = 200;
  };
  if ((pod.spec?.nodeName ?? '') === '') {
    // Not scheduled yet: nothing has been written, which is no error.
    begin();
    response.end();
    return;
  }
  const service = nodeServiceOf(context.server, pod);
  const { signal, unlink } = linkSignals(exchange.signal, context.stopping);
  try {
    const lines = await service.logs(
      { namespace: key.namespace, pod: key.name, podUid: pod.metadata.uid, container, ...filter },
      signal,
    );
    begin();
    response.flushHeaders();
    await carry(lines, response, signal);
  } catch (error) {
    if (!response.headersSent) throw error;
    context.log.warn(`log stream of ${key.namespace}/${key.name} broke: ${String((error as Error).message)}`);
    response.destroy();
  } finally {
    unlink();
  }
}

async function carry(lines: Readable, response: HttpResponse, signal: AbortSignal): Promise<void> {
  const stop = (): void => void lines.destroy();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    for await (const chunk of lines) {
      if (response.destroyed) break;
      if (!response.write(chunk)) await drained(response);
    }
    response.end();
  } catch (error) {
    if (!signal.aborted) throw error;
    response.end();
  } finally {
    signal.removeEventListener('abort', stop);
    lines.destroy();
  }
}

function drained(response: HttpResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

function logFilter(query: URLSearchParams, now: number): LogFilter {
  const causes: Cause[] = [];
  const integer = (name: string, least: number): number | undefined => {
    const value = query.get(name);
    if (value === null || value === '') return undefined;
    if (!/^[+-]?\d{1,15}$/.test(value))
      throw badRequest(`${name}: strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
    const number = Number(value);
    if (number < least)
      causes.push({
        reason: 'FieldValueInvalid',
        field: name,
        message: `Invalid value: ${number}: must be greater than or equal to ${least}`,
      });
    return number;
  };
  const flag = (name: string): boolean => {
    const value = query.get(name);
    return value !== null && value !== '0' && value.toLowerCase() !== 'false';
  };
  const tailLines = integer('tailLines', 0);
  const limitBytes = integer('limitBytes', 1);
  const sinceSeconds = integer('sinceSeconds', 1);
  const sinceTime = query.get('sinceTime');
  let sinceMs = sinceSeconds === undefined ? undefined : now - sinceSeconds * 1000;
  if (sinceTime !== null && sinceTime !== '') {
    if (sinceSeconds !== undefined)
      causes.push({
        reason: 'FieldValueForbidden',
        field: 'sinceTime',
        message: 'Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified',
      });
    sinceMs = Date.parse(sinceTime);
    if (Number.isNaN(sinceMs)) throw badRequest(`sinceTime: ${JSON.stringify(sinceTime)} is not an RFC 3339 time`);
  }
  const stream = query.get('stream');
  if (stream !== null && !['', 'All', 'Stdout', 'Stderr'].includes(stream))
    causes.push({
      reason: 'FieldValueNotSupported',
      field: 'stream',
      message: `Unsupported value: ${JSON.stringify(stream)}: supported values: "All", "Stderr", "Stdout"`,
    });
  if (causes.length > 0)
    throw new PintleError(
      'INVALID',
      `PodLogOptions "" is invalid: ${causes.map((cause) => `${cause.field}: ${cause.message}`).join(', ')}`,
      {
        details: { kind: 'PodLogOptions', causes },
      },
    );
  return {
    follow: flag('follow'),
    previous: flag('previous'),
    timestamps: flag('timestamps'),
    tailLines,
    limitBytes,
    sinceMs,
    stream: stream === null || stream === '' ? undefined : stream,
  };
}
