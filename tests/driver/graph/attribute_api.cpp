// Attributes of kernel nodes.
#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/graph/parameters.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// Of launches, and not of the nodes they become.
bool of_nodes(CUkernelNodeAttrID id) {
  return id == CU_KERNEL_NODE_ATTRIBUTE_ACCESS_POLICY_WINDOW || id == CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE ||
         id == CU_KERNEL_NODE_ATTRIBUTE_PRIORITY || id == CU_KERNEL_NODE_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
         id == CU_KERNEL_NODE_ATTRIBUTE_MEM_SYNC_DOMAIN ||
         id == CU_KERNEL_NODE_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
}

CUresult check_node_attribute(CUkernelNodeAttrID id, const CUkernelNodeAttrValue& value) {
  if (const CUresult wrong = check_attribute(id, value)) return wrong;
  return of_nodes(id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult give(Node& node, LaunchAttributes attributes) {
  std::shared_ptr<const KernelOperation> next;
  const CUresult wrong = operation_of<KernelOperation>(node)->with(std::move(attributes), next);
  if (wrong == CUDA_SUCCESS) node.operation = next;
  return wrong;
}

}  // namespace

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr, CUkernelNodeAttrValue* out) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  const auto* kernel = node ? operation_of<KernelOperation>(*node) : nullptr;
  if (!kernel || !out) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check_node_attribute(attr, {})) return wrong;
  const auto set = kernel->attributes().find(attr);
  *out = set == kernel->attributes().end() ? CUkernelNodeAttrValue{} : set->second;
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr, const CUkernelNodeAttrValue* value) {
  const std::scoped_lock lock(graph_mutex());
  const auto node = find_node(hNode);
  const auto* kernel = node ? operation_of<KernelOperation>(*node) : nullptr;
  if (!kernel || !value) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check_node_attribute(attr, *value)) return wrong;
  LaunchAttributes attributes = kernel->attributes();
  attributes[attr] = *value;
  return give(*node, std::move(attributes));
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src) {
  const std::scoped_lock lock(graph_mutex());
  const auto to = find_node(dst), from = find_node(src);
  const auto* kernel = from ? operation_of<KernelOperation>(*from) : nullptr;
  if (!kernel || !to || !operation_of<KernelOperation>(*to)) return CUDA_ERROR_INVALID_VALUE;
  return give(*to, kernel->attributes());
}

}  // namespace lull::sim::api
