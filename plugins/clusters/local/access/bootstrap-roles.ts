/**
 * The roles that every Kubernetes cluster has, with upstream's names and rules as far as this server has the resources.
 * Missing rules and subjects are put back at each start, unless the object says rbac.authorization.kubernetes.io/autoupdate: "false".
 */
import type { ClusterRole, ClusterRoleBinding, PolicyRule, Subject } from '../../../../kernel/contract/kubernetes.ts';
import type { NewObject } from '../../../../kernel/contract/index.ts';

const rbac = 'rbac.authorization.k8s.io';
const read = ['get', 'list', 'watch'];
const write = ['create', 'delete', 'deletecollection', 'patch', 'update'];
const all = [...write, ...read].sort();

const rule = (group: string, resources: readonly string[], verbs: readonly string[]): PolicyRule => ({
  apiGroups: [group],
  resources: [...resources],
  verbs: [...verbs],
});
const urls = (paths: readonly string[]): PolicyRule => ({ nonResourceURLs: [...paths], verbs: ['get'] });
const withStatus = (...names: readonly string[]) => names.flatMap((name) => [name, `${name}/status`]);

const healthPaths = ['/healthz', '/livez', '/readyz', '/version', '/version/'];

const viewRules: readonly PolicyRule[] = [
  rule(
    '',
    [
      ...['configmaps', 'endpoints', 'pods', 'replicationcontrollers', 'replicationcontrollers/scale'],
      ...['serviceaccounts', ...withStatus('persistentvolumeclaims', 'services')],
    ],
    read,
  ),
  rule(
    '',
    [
      ...['bindings', 'events', 'limitranges', 'namespaces/status', 'pods/log', 'pods/status'],
      ...['replicationcontrollers/status', ...withStatus('resourcequotas')],
    ],
    read,
  ),
  rule('', ['namespaces'], read),
  rule('discovery.k8s.io', ['endpointslices'], read),
  rule(
    'apps',
    [
      'controllerrevisions',
      ...withStatus('daemonsets', 'deployments', 'replicasets', 'statefulsets'),
      ...['deployments/scale', 'replicasets/scale', 'statefulsets/scale'],
    ],
    read,
  ),
  rule('autoscaling', withStatus('horizontalpodautoscalers'), read),
  rule('batch', withStatus('cronjobs', 'jobs'), read),
  rule('policy', withStatus('poddisruptionbudgets'), read),
  rule('networking.k8s.io', [...withStatus('ingresses'), 'networkpolicies'], read),
];

const editRules: readonly PolicyRule[] = [
  rule('', ['pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'secrets', 'services/proxy'], read),
  rule('', ['serviceaccounts'], ['impersonate']),
  rule('', ['pods', 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy'], write),
  rule('', ['pods/eviction'], ['create']),
  rule(
    '',
    [
      ...['configmaps', 'events', 'persistentvolumeclaims', 'replicationcontrollers', 'replicationcontrollers/scale'],
      ...['secrets', 'serviceaccounts', 'services', 'services/proxy'],
    ],
    write,
  ),
  rule('', ['serviceaccounts/token'], ['create']),
  rule(
    'apps',
    [
      ...['daemonsets', 'deployments', 'deployments/rollback', 'deployments/scale', 'replicasets', 'replicasets/scale'],
      ...['statefulsets', 'statefulsets/scale'],
    ],
    write,
  ),
  rule('autoscaling', ['horizontalpodautoscalers'], write),
  rule('batch', ['cronjobs', 'jobs'], write),
  rule('policy', ['poddisruptionbudgets'], write),
  rule('networking.k8s.io', ['ingresses', 'networkpolicies'], write),
  rule('coordination.k8s.io', ['leases'], all),
];

const adminRules: readonly PolicyRule[] = [
  rule('authorization.k8s.io', ['localsubjectaccessreviews'], ['create']),
  rule(rbac, ['rolebindings', 'roles'], all),
];

/** What an agent does: node-agent, service-proxy, dns and the way of its pods to the API share one identity. */
const nodeRules: readonly PolicyRule[] = [
  rule('', ['nodes'], [...read, 'create', 'patch', 'update']),
  rule('', ['nodes/status'], ['patch', 'update', 'get']),
  rule('', ['pods'], [...read, 'create', 'delete']),
  rule('', ['pods/status'], ['patch', 'update', 'get']),
  rule('', ['pods/eviction'], ['create']),
  rule('', ['configmaps', 'endpoints', 'namespaces', 'secrets', 'serviceaccounts', 'services'], read),
  rule('', ['services'], ['create']),
  rule('', ['serviceaccounts/token'], ['create']),
  rule('', ['events'], ['create', 'patch', 'update', 'get', 'list']),
  rule('events.k8s.io', ['events'], ['create', 'patch', 'update']),
  rule('', withStatus('persistentvolumeclaims', 'persistentvolumes'), [...read, 'patch', 'update']),
  rule('', ['persistentvolumes'], ['create', 'delete']),
  rule('discovery.k8s.io', ['endpointslices'], [...read, 'create', 'delete', 'patch', 'update']),
  rule('coordination.k8s.io', ['leases'], ['get', 'create', 'update', 'patch', 'delete']),
  rule('networking.k8s.io', ['networkpolicies', 'ingresses', 'ingressclasses'], read),
  rule('storage.k8s.io', ['storageclasses', 'volumeattachments', 'csidrivers', 'csinodes'], read),
  rule('node.k8s.io', ['runtimeclasses'], read),
  rule('authentication.k8s.io', ['tokenreviews'], ['create']),
  rule('authorization.k8s.io', ['subjectaccessreviews'], ['create']),
];

const schedulerRules: readonly PolicyRule[] = [
  rule('', ['events'], ['create', 'patch', 'update']),
  rule('events.k8s.io', ['events'], ['create', 'patch', 'update']),
  rule('coordination.k8s.io', ['leases'], ['create', 'get', 'list', 'update', 'watch']),
  rule('', ['nodes', 'namespaces', 'persistentvolumeclaims', 'persistentvolumes', 'services'], read),
  rule('', ['replicationcontrollers'], read),
  rule('', ['pods'], ['delete', ...read]),
  rule('', ['bindings', 'pods/binding'], ['create']),
  rule('', ['pods/status'], ['patch', 'update']),
  rule('apps', ['replicasets', 'statefulsets'], read),
  rule('policy', ['poddisruptionbudgets'], read),
  rule('storage.k8s.io', ['csidrivers', 'csinodes', 'csistoragecapacities', 'storageclasses'], read),
];

interface BootstrapRole {
  readonly name: string;
  readonly rules: readonly PolicyRule[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Label whose bearers' rules this role gathers. */
  readonly gathers?: string;
}

const aggregateTo = (name: string) => `${rbac}/aggregate-to-${name}`;

const roles: readonly BootstrapRole[] = [
  {
    name: 'cluster-admin',
    rules: [
      { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
      { nonResourceURLs: ['*'], verbs: ['*'] },
    ],
  },
  { name: 'admin', gathers: aggregateTo('admin'), rules: [...adminRules, ...editRules, ...viewRules] },
  {
    name: 'edit',
    gathers: aggregateTo('edit'),
    labels: { [aggregateTo('admin')]: 'true' },
    rules: [...editRules, ...viewRules],
  },
  { name: 'view', gathers: aggregateTo('view'), labels: { [aggregateTo('edit')]: 'true' }, rules: viewRules },
  { name: 'system:aggregate-to-admin', labels: { [aggregateTo('admin')]: 'true' }, rules: adminRules },
  { name: 'system:aggregate-to-edit', labels: { [aggregateTo('edit')]: 'true' }, rules: editRules },
  { name: 'system:aggregate-to-view', labels: { [aggregateTo('view')]: 'true' }, rules: viewRules },
  {
    name: 'system:aggregated-metrics-reader',
    labels: { [aggregateTo('admin')]: 'true', [aggregateTo('edit')]: 'true', [aggregateTo('view')]: 'true' },
    rules: [rule('metrics.k8s.io', ['nodes', 'pods'], read)],
  },
  {
    name: 'system:discovery',
    rules: [urls([...healthPaths, '/api', '/api/*', '/apis', '/apis/*', '/openapi', '/openapi/*'])],
  },
  {
    name: 'system:basic-user',
    rules: [
      rule('authorization.k8s.io', ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'], ['create']),
      rule('authentication.k8s.io', ['selfsubjectreviews'], ['create']),
    ],
  },
  {
    name: 'system:service-account-issuer-discovery',
    rules: [
      urls(['/.well-known/openid-configuration', '/.well-known/openid-configuration/']),
      urls(['/openid/v1/jwks', '/openid/v1/jwks/']),
    ],
  },
  { name: 'system:public-info-viewer', rules: [urls(healthPaths)] },
  {
    name: 'system:monitoring',
    rules: [
      urls(['/healthz', '/healthz/*', '/livez', '/livez/*', '/metrics', '/metrics/slis', '/readyz', '/readyz/*']),
    ],
  },
  {
    name: 'system:auth-delegator',
    rules: [
      rule('authentication.k8s.io', ['tokenreviews'], ['create']),
      rule('authorization.k8s.io', ['subjectaccessreviews'], ['create']),
    ],
  },
  { name: 'system:node', rules: nodeRules },
  {
    name: 'system:node-proxier',
    rules: [
      rule('', ['endpoints', 'nodes', 'services'], read),
      rule('discovery.k8s.io', ['endpointslices'], read),
      rule('', ['events'], ['create', 'patch', 'update']),
      rule('events.k8s.io', ['events'], ['create', 'patch', 'update']),
    ],
  },
  { name: 'system:kube-scheduler', rules: schedulerRules },
  {
    name: 'system:kube-dns',
    rules: [rule('', ['endpoints', 'services'], ['list', 'watch'])],
  },
  ...['kube-apiserver-client', 'kube-apiserver-client-kubelet', 'kubelet-serving'].map((signer) => ({
    name: `system:certificates.k8s.io:${signer}-approver`,
    rules: [{ ...rule('certificates.k8s.io', ['signers'], ['approve']), resourceNames: [`kubernetes.io/${signer}`] }],
  })),
];

const bindings: readonly (readonly [name: string, role: string, subjects: readonly string[]])[] = [
  ['cluster-admin', 'cluster-admin', ['Group system:masters']],
  ['system:discovery', 'system:discovery', ['Group system:authenticated']],
  ['system:basic-user', 'system:basic-user', ['Group system:authenticated']],
  [
    'system:public-info-viewer',
    'system:public-info-viewer',
    ['Group system:authenticated', 'Group system:unauthenticated'],
  ],
  [
    'system:service-account-issuer-discovery',
    'system:service-account-issuer-discovery',
    ['Group system:serviceaccounts'],
  ],
  ['system:monitoring', 'system:monitoring', ['Group system:monitoring']],
  ['system:node', 'system:node', ['Group system:nodes']],
  ['system:node-proxier', 'system:node-proxier', ['User system:kube-proxy']],
  ['system:kube-scheduler', 'system:kube-scheduler', ['User system:kube-scheduler']],
];

const defaulting = { 'kubernetes.io/bootstrapping': 'rbac-defaults' };
const autoUpdate = 'rbac.authorization.kubernetes.io/autoupdate';

export const bootstrapRoles: readonly NewObject<ClusterRole>[] = roles.map(({ name, rules, labels, gathers }) => ({
  metadata: { name, labels: { ...defaulting, ...labels }, annotations: { [autoUpdate]: 'true' } },
  rules: [...rules],
  ...(gathers !== undefined && { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [gathers]: 'true' } }] } }),
}));

export const bootstrapBindings: readonly NewObject<ClusterRoleBinding>[] = bindings.map(([name, role, subjects]) => ({
  metadata: { name, labels: defaulting, annotations: { [autoUpdate]: 'true' } },
  roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
  subjects: subjects.map((text): Subject => {
    const [kind = '', subject = ''] = text.split(' ');
    return { apiGroup: rbac, kind, name: subject };
  }),
}));
