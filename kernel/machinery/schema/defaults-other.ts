/** Defaults of the groups networking, discovery, rbac, storage, scheduling, admission, API extension and flow control. */
import { child, ensure, fill, hasItems, type Defaulter } from './defaulter.ts';
import { own } from '../json-value.ts';

const rbacGroup = 'rbac.authorization.k8s.io';

const networkPolicy: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  if (hasItems(own(spec, 'policyTypes'))) return;
  spec['policyTypes'] = hasItems(own(spec, 'egress')) ? ['Ingress', 'Egress'] : ['Ingress'];
};

const binding: Defaulter = (object) => fill(ensure(object, 'roleRef'), { apiGroup: rbacGroup });

const csiDriver: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  fill(spec, {
    attachRequired: true,
    podInfoOnMount: false,
    storageCapacity: false,
    fsGroupPolicy: 'ReadWriteOnceWithFSType',
    requiresRepublish: false,
    seLinuxMount: false,
  });
  if (!hasItems(own(spec, 'volumeLifecycleModes'))) spec['volumeLifecycleModes'] = ['Persistent'];
};

const matchAll: Defaulter = (object) =>
  fill(object, { matchPolicy: 'Equivalent', namespaceSelector: {}, objectSelector: {} });

const webhook: Defaulter = (object) => {
  matchAll(object);
  fill(object, { failurePolicy: 'Fail', timeoutSeconds: 10 });
};

const exactCount: Defaulter = (object) => {
  fill(object, { allocationMode: 'ExactCount' });
  if (object['allocationMode'] === 'ExactCount' && !object['count']) object['count'] = 1;
};

const customResourceDefinition: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  const names = ensure(spec, 'names');
  const kind = typeof names['kind'] === 'string' ? names['kind'] : '';
  if (kind !== '') fill(names, { singular: kind.toLowerCase(), listKind: `${kind}List` });
  fill(spec, { conversion: { strategy: 'None' } });
};

const servicePort443: Defaulter = (object) => fill(object, { port: 443 });

const queuing: Defaulter = (object) => {
  if (!object['handSize']) object['handSize'] = 8;
  if (!object['queues']) object['queues'] = 64;
  if (!object['queueLengthLimit']) object['queueLengthLimit'] = 50;
};

export const otherDefaults: Readonly<Record<string, Defaulter>> = {
  'networking/v1.NetworkPolicy': networkPolicy,
  'networking/v1.NetworkPolicyPort': (object) => fill(object, { protocol: 'TCP' }),
  'networking/v1.IngressClass': (object) => {
    const parameters = child(child(object, 'spec'), 'parameters');
    if (parameters) fill(parameters, { scope: 'Cluster' });
  },
  'discovery/v1.EndpointPort': (object) => {
    if (own(object, 'name') === undefined || object['name'] === null) object['name'] = '';
    fill(object, { protocol: 'TCP' });
  },
  'rbac/v1.RoleBinding': binding,
  'rbac/v1.ClusterRoleBinding': binding,
  'rbac/v1.Subject': (object) => {
    if (object['kind'] === 'User' || object['kind'] === 'Group') fill(object, { apiGroup: rbacGroup });
  },
  'storage/v1.StorageClass': (object) => fill(object, { reclaimPolicy: 'Delete', volumeBindingMode: 'Immediate' }),
  'storage/v1.CSIDriver': csiDriver,
  'scheduling/v1.PriorityClass': (object) => fill(object, { preemptionPolicy: 'PreemptLowerPriority' }),
  'admissionregistration/v1.ValidatingWebhook': webhook,
  'admissionregistration/v1.MutatingWebhook': (object) => {
    webhook(object);
    fill(object, { reinvocationPolicy: 'Never' });
  },
  'admissionregistration/v1.RuleWithOperations': (object) => fill(object, { scope: '*' }),
  'admissionregistration/v1.NamedRuleWithOperations': (object) => fill(object, { scope: '*' }),
  'admissionregistration/v1.ServiceReference': servicePort443,
  'admissionregistration/v1.MatchResources': matchAll,
  'admissionregistration/v1.ValidatingAdmissionPolicySpec': (object) => fill(object, { failurePolicy: 'Fail' }),
  'admissionregistration/v1.MutatingAdmissionPolicySpec': (object) => fill(object, { failurePolicy: 'Fail' }),
  'apiextensions/v1.CustomResourceDefinition': customResourceDefinition,
  'apiextensions/v1.ServiceReference': servicePort443,
  'apiregistration/v1.ServiceReference': servicePort443,
  'authentication/v1.TokenRequestSpec': (object) => fill(object, { expirationSeconds: 3600 }),
  'resource/v1.ExactDeviceRequest': exactCount,
  'resource/v1.DeviceSubRequest': exactCount,
  'resource/v1.NodeAllocatableResourceMapping': (object) => fill(object, { allocationMultiplier: '1' }),
  'flowcontrol/v1.FlowSchemaSpec': (object) => {
    if (!object['matchingPrecedence']) object['matchingPrecedence'] = 1000;
  },
  'flowcontrol/v1.ExemptPriorityLevelConfiguration': (object) =>
    fill(object, { nominalConcurrencyShares: 0, lendablePercent: 0 }),
  'flowcontrol/v1.LimitedPriorityLevelConfiguration': (object) =>
    fill(object, { nominalConcurrencyShares: 30, lendablePercent: 0 }),
  'flowcontrol/v1.QueuingConfiguration': queuing,
};
