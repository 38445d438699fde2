/** Creating an object: name, namespace, identity, defaults, admission, validation, and the write that must find nothing. */
import type { KubernetesObject, WriteOptions } from '../../../../kernel/contract/index.ts';
import type { Namespace } from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { alreadyExists, badRequest, forbidden, invalid, notFound } from '../api-errors.ts';
import type { Engine, Stored } from '../engine.ts';
import { deepFreeze } from '../state/frozen-json.ts';
import { shape } from '../shape.ts';
import type { Shaped } from '../shape.ts';
import { FieldErrors } from '../validation/field-errors.ts';
import { storedOnly } from '../strategies/stored-only.ts';
import type { Reservation } from '../strategies/strategy.ts';
import { validateMeta } from '../validation/object-meta.ts';
import { newMeta } from './metadata.ts';
import { ownershipOfNew } from './ownership.ts';

/** Without vowels and look-alikes, so that no generated name is a word. */
const suffixLetters = 'bcdfghjklmnpqrstvwxz2456789';
const nameTries = 8;

function generatedName(base: string): string {
  let suffix = '';
  for (let index = 0; index < 5; index++) suffix += suffixLetters[Math.floor(Math.random() * suffixLetters.length)];
  return base.slice(0, 58) + suffix;
}

/** A namespaced object needs a namespace that exists and is not going away. */
function checkNamespace(engine: Engine, resource: Stored, namespace: string, name: string): void {
  const namespaces = engine.stored(resources.namespaces, 'get').storage.collection;
  const found = namespaces.get(namespace) as Namespace | undefined;
  if (!found) throw notFound(resources.namespaces, namespace);
  if (!found.metadata.deletionTimestamp && found.status?.phase !== 'Terminating') return;
  throw forbidden(
    resource.served,
    name,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
    [
      {
        reason: 'NamespaceTerminating',
        message: `namespace ${namespace} is being terminated`,
        field: 'metadata.namespace',
      },
    ],
  );
}

export async function create(
  engine: Engine,
  resource: Stored,
  input: unknown,
  options: WriteOptions,
  owned?: Shaped['owned'],
): Promise<KubernetesObject> {
  const { storage, served } = resource;
  const { strategy } = storage;
  const { object: shaped, causes } = shape(resource, input, options);
  const sent = shaped.metadata;
  if (sent.resourceVersion) throw badRequest('resourceVersion should not be set on objects to be created');
  const managedFields = owned ? owned.by : ownershipOfNew(engine, resource, shaped, options);
  const draft = resource.view ? resource.view.toStored(shaped) : shaped;
  const base = sent.name ? undefined : sent.generateName;
  const namespace = served.namespaced ? sent.namespace : undefined;
  if (namespace) checkNamespace(engine, resource, namespace, sent.name || (base ?? ''));

  const context = engine.context(options);
  const errors = new FieldErrors(causes);
  if (!served.namespaced && sent.namespace) errors.forbidden('metadata.namespace', 'not allowed on this type');
  draft.metadata = newMeta(draft.metadata, {
    name: base ? generatedName(base) : (sent.name ?? ''),
    namespace,
    uid: engine.newUid(),
    timestamp: context.timestamp,
    generation: strategy.countsGeneration ? 1 : undefined,
  });
  if (managedFields) draft.metadata.managedFields = managedFields;
  if (storage.hasStatus && !strategy.keepsStatus) {
    const record = draft as { status?: object };
    delete record.status;
    const status = strategy.initialStatus?.(draft);
    if (status) record.status = status;
  }
  validateMeta(draft, strategy.nameRule ?? 'subdomain', served.namespaced, errors);
  strategy.prepareCreate?.(draft, context);
  strategy.validate?.(draft, errors, context);
  if (strategy.inspect) await strategy.inspect(draft, errors);
  if (!errors.isEmpty) throw invalid(served, draft.metadata.name, errors.causes);
  const unheeded = storedOnly.get(storage.path);
  if (unheeded !== undefined) context.warn(`${served.kind} is stored only: ${unheeded}`);

  // Last of all checks, and nothing between it and the write that could wait.
  const quota = engine.quota.charge(storage, draft, undefined);
  let reservation: Reservation | undefined;
  let isKept = false;
  try {
    reservation = strategy.reserve?.(draft, undefined, errors);
    if (!errors.isEmpty) throw invalid(served, draft.metadata.name, errors.causes);
    for (let tries = 1; ; tries++) {
      const key = engine.key(resource, draft.metadata);
      if (options.dryRun) {
        if (storage.collection.get(key)) throw alreadyExists(served, draft.metadata.name);
        delete (draft.metadata as { resourceVersion?: string }).resourceVersion;
        return engine.catalog.shown(resource, deepFreeze(draft));
      }
      const created = await engine.write(storage, key, draft, 0);
      if (created) {
        isKept = true;
        return engine.catalog.shown(resource, created);
      }
      if (!base || tries >= nameTries) throw alreadyExists(served, draft.metadata.name);
      draft.metadata.name = generatedName(base);
    }
  } finally {
    if (isKept) reservation?.keep();
    else reservation?.cancel();
    quota?.cancel();
  }
}
