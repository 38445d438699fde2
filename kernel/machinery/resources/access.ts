/** Who somebody is and what they may do. */
import type * as k8s from '../../contract/kubernetes.ts';
import { inGroup } from './resource-type.ts';

const rbac = inGroup('rbac.authorization.k8s.io', 'v1');
const authentication = inGroup('authentication.k8s.io', 'v1');
const authorization = inGroup('authorization.k8s.io', 'v1');
const certificates = inGroup('certificates.k8s.io', 'v1');

export const accessResources = {
  clusterRoles: rbac.clusterWide<k8s.ClusterRole>('ClusterRole', 'clusterroles'),
  clusterRoleBindings: rbac.clusterWide<k8s.ClusterRoleBinding>('ClusterRoleBinding', 'clusterrolebindings'),
  roles: rbac.namespaced<k8s.Role>('Role', 'roles'),
  roleBindings: rbac.namespaced<k8s.RoleBinding>('RoleBinding', 'rolebindings'),
  selfSubjectReviews: authentication.clusterWide<k8s.SelfSubjectReview>('SelfSubjectReview', 'selfsubjectreviews', {
    stored: false,
  }),
  tokenReviews: authentication.clusterWide<k8s.TokenReview>('TokenReview', 'tokenreviews', { stored: false }),
  localSubjectAccessReviews: authorization.namespaced<k8s.LocalSubjectAccessReview>(
    'LocalSubjectAccessReview',
    'localsubjectaccessreviews',
    { stored: false },
  ),
  selfSubjectAccessReviews: authorization.clusterWide<k8s.SelfSubjectAccessReview>(
    'SelfSubjectAccessReview',
    'selfsubjectaccessreviews',
    { stored: false },
  ),
  selfSubjectRulesReviews: authorization.clusterWide<k8s.SelfSubjectRulesReview>(
    'SelfSubjectRulesReview',
    'selfsubjectrulesreviews',
    { stored: false },
  ),
  subjectAccessReviews: authorization.clusterWide<k8s.SubjectAccessReview>(
    'SubjectAccessReview',
    'subjectaccessreviews',
    { stored: false },
  ),
  certificateSigningRequests: certificates.clusterWide<k8s.CertificateSigningRequest>(
    'CertificateSigningRequest',
    'certificatesigningrequests',
    { shortNames: ['csr'], subresources: ['approval'] },
  ),
} as const;
