/**
 * Kinds that nothing here acts on though their users wait for something to happen. A client that makes one is warned,
 * since what it reads back looks as if it worked.
 */
const policies = 'it changes and refuses nothing';

export const storedOnly: ReadonlyMap<string, string> = new Map([
  ['networking.k8s.io/ingresses', 'no ingress controller is built in'],
  ['networking.k8s.io/networkpolicies', 'no traffic is filtered by it'],
  ['apiextensions.k8s.io/customresourcedefinitions', 'it makes no new kind'],
  ['apiregistration.k8s.io/apiservices', 'no other API server is asked'],
  ['admissionregistration.k8s.io/mutatingadmissionpolicies', policies],
  ['admissionregistration.k8s.io/mutatingadmissionpolicybindings', policies],
  ['admissionregistration.k8s.io/mutatingwebhookconfigurations', 'no webhook is called'],
  ['admissionregistration.k8s.io/validatingadmissionpolicies', policies],
  ['admissionregistration.k8s.io/validatingadmissionpolicybindings', policies],
  ['admissionregistration.k8s.io/validatingwebhookconfigurations', 'no webhook is called'],
]);
