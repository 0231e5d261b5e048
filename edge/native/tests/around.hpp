// A graph with something done around each of its runs.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "backend.hpp"

namespace stemedge::core {

using Around = std::function<void(Binding&)>;  // runs the binding, and does what it likes before and after

class AroundBinding : public Binding {
 public:
  AroundBinding(std::unique_ptr<Binding> binding, Around around)
      : binding_(std::move(binding)), around_(std::move(around)) {}
  float* input() override { return binding_->input(); }
  float* output() override { return binding_->output(); }
  void run() override { around_(*binding_); }
  void reset() override { binding_->reset(); }

 private:
  std::unique_ptr<Binding> binding_;
  Around around_;
};

class AroundGraph : public Graph {
 public:
  AroundGraph(std::shared_ptr<Graph> graph, Around around) : graph_(std::move(graph)), around_(std::move(around)) {}
  std::unique_ptr<Binding> bind() override { return std::make_unique<AroundBinding>(graph_->bind(), around_); }

 private:
  std::shared_ptr<Graph> graph_;
  Around around_;
};

}  // namespace stemedge::core
