#include "tests/driver/code/module.h"

#include <algorithm>
#include <cstring>

#include "tests/driver/card/settings.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/registry.h"

namespace lull::sim {

// Locked: another thread may destroy the context meanwhile, and its memory becomes somebody else's.
bool CodeModule::fill_variables() const {
  const std::scoped_lock lock(space().mutex);
  if (life_->stop) return false;
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    const ptx::Variable& variable = parsed_->variables[i];
    std::memset(addresses_[i], 0, variable.size);
    if (!variable.initial.empty())
      std::memcpy(addresses_[i], variable.initial.data(), std::min(variable.size, variable.initial.size()));
    for (const ptx::AddressWord& word : variable.addresses) {
      const auto address = reinterpret_cast<std::uint64_t>(addresses_[static_cast<std::size_t>(word.variable)]) +
                           static_cast<std::uint64_t>(word.addend);
      std::memcpy(addresses_[i] + word.offset, &address, sizeof address);
    }
  }
  return true;
}

CUresult CodeModule::place_variables(Context& context) {
  for (const ptx::Variable& variable : parsed_->variables) {
    const std::uintptr_t address = allocate(context, std::max<std::size_t>(variable.size, 1), AllocationKind::code);
    if (!address) return CUDA_ERROR_OUT_OF_MEMORY;
    addresses_.push_back(reinterpret_cast<std::byte*>(address));
  }
  return fill_variables() ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult CodeModule::load(Context& context, std::shared_ptr<const ptx::Module> parsed,
                          std::shared_ptr<CodeModule>& out) {
  const auto life = context.life();
  auto module = std::make_shared<CodeModule>();
  module->context_ = &context;
  module->device_ = &context.device();
  module->life_ = life;
  module->parsed_ = std::move(parsed);
  module->loaded_ = true;
  CUresult failed = settings().lazy_loading ? CUDA_SUCCESS : module->load_code();
  if (!failed) failed = module->place_variables(context);
  if (failed) {
    module->unload();
    return failed;
  }
  registry<CodeModule>().add(module);
  // From here on a context that ends takes the module with it. One that ended before has not seen it.
  if (!context.active() || context.life() != life) {
    module->unload();
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  out = std::move(module);
  return CUDA_SUCCESS;
}

CUresult CodeModule::load_code() {
  const std::scoped_lock lock(mutex_);
  if (code_loaded_) return CUDA_SUCCESS;
  if (!loaded_) return CUDA_ERROR_INVALID_HANDLE;
  if (!charge_native(*device_, settings().module_bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  code_loaded_ = true;
  return CUDA_SUCCESS;
}

bool CodeModule::code_loaded() const {
  const std::scoped_lock lock(mutex_);
  return code_loaded_;
}

void CodeModule::unload() {
  std::map<std::string, std::shared_ptr<Function>, std::less<>> functions;
  {
    const std::scoped_lock lock(mutex_);
    if (!loaded_) return;
    loaded_ = false;
    functions.swap(functions_);
  }
  registry<CodeModule>().remove(this);
  for (const auto& [name, function] : functions) registry<Function>().remove(function.get());
  for (std::byte* at : addresses_) release(reinterpret_cast<std::uintptr_t>(at), *life_);
  if (code_loaded_) device_->card->refund(settings().module_bytes);
}

std::shared_ptr<Function> CodeModule::function(std::string_view name) {
  const ptx::Kernel* kernel = parsed_->find(name);
  if (!kernel) return nullptr;
  const std::scoped_lock lock(mutex_);
  if (const auto found = functions_.find(name); found != functions_.end()) return found->second;
  auto made = std::make_shared<Function>();
  made->module = shared_from_this();
  made->kernel = kernel;
  registry<Function>().add(made);
  functions_.emplace(name, made);
  return made;
}

const ptx::Variable* CodeModule::variable(std::string_view name, std::byte*& address) const {
  const auto& all = parsed_->variables;
  const auto found = std::ranges::find(all, name, &ptx::Variable::name);
  if (found == all.end()) return nullptr;
  address = addresses_[static_cast<std::size_t>(found - all.begin())];
  return &*found;
}

CUresult Library::load_into(Context& context, std::shared_ptr<CodeModule>& out) {
  const std::scoped_lock lock(mutex);
  if (const auto found = loaded.find(&context); found != loaded.end()) {
    out = found->second;
    return CUDA_SUCCESS;
  }
  if (const CUresult failed = CodeModule::load(context, parsed, out)) return failed;
  loaded[&context] = out;
  return CUDA_SUCCESS;
}

void unload_modules_of(Context& context) {
  for (const auto& library : registry<Library>().all()) {
    const std::scoped_lock lock(library->mutex);
    library->loaded.erase(&context);
  }
  for (const auto& module : registry<CodeModule>().all()) {
    if (module->context() == &context) module->unload();
  }
}

CUresult find_function(CUfunction handle, Context& context, std::shared_ptr<Function>& out) {
  if ((out = registry<Function>().find(handle))) return CUDA_SUCCESS;
  const auto kernel = registry<LibraryKernel>().find(handle);
  const auto library = kernel ? kernel->library.lock() : nullptr;
  if (!library) return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<CodeModule> module;
  if (const CUresult failed = library->load_into(context, module)) return failed;
  out = module->function(kernel->kernel->name);
  return CUDA_SUCCESS;
}

const ptx::Kernel* find_kernel(const void* handle) {
  if (const auto function = registry<Function>().find(handle)) return function->kernel;
  const auto kernel = registry<LibraryKernel>().find(handle);
  return kernel ? kernel->kernel : nullptr;
}

}  // namespace lull::sim
