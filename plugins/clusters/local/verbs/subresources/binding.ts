/** pods/binding: gives a pod its node, once. */
import type { KubernetesObject, ObjectKey, WriteOptions } from '../../../../../kernel/contract/index.ts';
import type { Binding, Pod } from '../../../../../kernel/contract/kubernetes.ts';
import { setCondition } from '../../../../../kernel/machinery/metadata.ts';
import { conflict, invalid } from '../../api-errors.ts';
import { timestamp } from '../../engine.ts';
import type { Engine, Stored } from '../../engine.ts';
import { FieldErrors } from '../../validation/field-errors.ts';
import { subdomainFaults } from '../../validation/names.ts';
import { bodyOf } from '../../shape.ts';
import type { Shaped } from '../../shape.ts';
import { change } from '../change.ts';

const bindingType = { group: '', apiVersion: 'v1', kind: 'Binding', schemaType: 'core/v1.Binding' };

export async function bind(
  engine: Engine,
  pods: Stored,
  parent: ObjectKey,
  body: KubernetesObject,
  options: WriteOptions,
): Promise<KubernetesObject> {
  const binding = bodyOf<Binding>(bindingType, body, options);
  const errors = new FieldErrors();
  const kind = binding.target?.kind ?? '';
  if (kind !== '' && kind !== 'Node') errors.notSupported('target.kind', kind, ['Node', '<empty>']);
  if (!binding.target?.name) errors.required('target.name');
  else errors.faults('target.name', binding.target.name, subdomainFaults(binding.target.name));
  if (!errors.isEmpty) {
    throw invalid(
      { group: '', resource: 'pods/binding', kind: 'Binding' },
      binding.metadata?.name ?? '',
      errors.causes,
    );
  }
  const node = binding.target.name!;
  const edit = (shown: KubernetesObject): Shaped => {
    // What a binding does not change is the stored object's own.
    const pod = { ...shown, metadata: { ...shown.metadata }, spec: { ...(shown as Pod).spec } } as Pod;
    const { name } = pod.metadata;
    const refuse = (message: string) => conflict({ ...pods.served, resource: 'pods/binding' }, name, message);
    if (binding.metadata?.uid && binding.metadata.uid !== pod.metadata.uid) {
      throw refuse(
        `Precondition failed: UID in precondition: ${binding.metadata.uid}, UID in object meta: ${pod.metadata.uid}`,
      );
    }
    if (pod.metadata.deletionTimestamp) throw refuse(`pod ${name} is being deleted, cannot be assigned to a host`);
    if (pod.spec.nodeName) throw refuse(`pod ${name} is already assigned to node "${pod.spec.nodeName}"`);
    if (pod.spec.schedulingGates?.length) throw refuse(`pod ${name} has non-empty .spec.schedulingGates`);
    if (binding.metadata?.resourceVersion) pod.metadata.resourceVersion = binding.metadata.resourceVersion;
    pod.spec.nodeName = node;
    if (binding.metadata?.annotations) {
      pod.metadata.annotations = { ...pod.metadata.annotations, ...binding.metadata.annotations };
    }
    const now = timestamp(engine.clock.now());
    const conditions = setCondition(pod.status?.conditions, { type: 'PodScheduled', status: 'True' }, now);
    pod.status = { ...pod.status, conditions: [...conditions] };
    return { object: pod, causes: [] };
  };
  await change(engine, pods, engine.key(pods, parent), edit, options, 'free');
  return binding;
}
