/**
 * Several objects of one kind and namespace in one POST (`?pintle-each=true`), as an agent sends a starting pod's Events. Each
 * is created, refused and answered by itself, with a Status and not the object: who sends many has them already.
 */
import type { Cluster, KubernetesObject, Logger, WriteOptions } from '../../../kernel/contract/index.ts';
import { decodeEach } from './decode-object.ts';
import type { Exchange } from './http-exchange.ts';
import { logUnexpected } from './log-unexpected.ts';
import type { ResourceTarget } from './request-target.ts';
import { sendJson } from './send-answer.ts';
import { badRequest, createdStatus, statusOf, type Status } from './status.ts';

/** Of events a recorder sends a hundred at most. */
const maxItems = 500;

export const wantsEach = (query: URLSearchParams): boolean => query.get('pintle-each') === 'true';

export async function createEach(
  exchange: Exchange,
  { resource, namespace }: ResourceTarget,
  bytes: Buffer,
  write: WriteOptions,
  { cluster, log }: { readonly cluster: Cluster; readonly log: Logger },
): Promise<void> {
  const { group, version, kind } = resource;
  const decoded = await decodeEach(exchange, bytes, { group, version, kind, namespace, name: undefined });
  if (decoded.length > maxItems) throw badRequest(`at most ${maxItems} objects are created at once`);
  const one = async (decode: () => KubernetesObject): Promise<Status> => {
    try {
      await cluster.create(resource, decode(), { ...write, user: exchange.user, warn: exchange.warn });
      return createdStatus;
    } catch (error) {
      logUnexpected(error, `request failed: POST ${exchange.path}`, log);
      return statusOf(error);
    }
  };
  const items = await Promise.all(decoded.map(one));
  await sendJson(exchange, 200, { apiVersion: 'pintle.dev/v1', kind: 'StatusList', items });
}
