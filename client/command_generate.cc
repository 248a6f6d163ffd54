#include "client/command_generate.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/stockpot/v1/generation.grpc.pb.h"

#include "base/status_macros.h"
#include "client/generate_output.h"
#include "client/json_text.h"

namespace stockpot {

absl::Status RunGenerate(const GenerateOptions& options,
                         const Connection& connection, Terminal& terminal) {
  ASSIGN_OR_RETURN(const v1::GenerateRequest request,
                   MakeGenerateRequest(options, terminal));
  GenerateOutput output({.num_sequences = options.n.value_or(1),
                         .json = options.json,
                         .logprobs = request.output().logprobs(),
                         .stats = options.stats},
                        terminal);
  const auto stub = v1::GenerationService::NewStub(connection.channel());
  absl::Status received;
  const absl::Status call = connection.Call([&](grpc::ClientContext* context) {
    const auto reader = stub->Generate(context, request);
    v1::GenerateResponse response;
    while (received.ok() && reader->Read(&response)) {
      received = output.Receive(response);
    }
    if (!received.ok()) {
      context->TryCancel();
    }
    return reader->Finish();
  });
  const absl::Status closed = output.Close(received.ok() && call.ok());
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(call);
  return closed;
}

absl::Status RunTokenize(const TokenizeOptions& options,
                         const Connection& connection, Terminal& terminal) {
  v1::TokenizeRequest request;
  ASSIGN_OR_RETURN(std::string text,
                   ReadPrompt(options.text, /*file=*/"", terminal));
  request.mutable_prompt()->set_text(std::move(text));
  request.mutable_prompt()->set_parse_special_tokens(
      options.parse_special_tokens);
  if (options.no_add_special_tokens) {
    request.mutable_prompt()->set_add_special_tokens(false);
  }
  const auto stub = v1::GenerationService::NewStub(connection.channel());
  v1::TokenizeResponse response;
  RETURN_IF_ERROR(connection.Call([&](grpc::ClientContext* context) {
    return stub->Tokenize(context, request, &response);
  }));
  if (options.json) {
    const std::vector<uint32_t> ids(response.ids().begin(),
                                    response.ids().end());
    terminal.out << ToLine({{"ids", ids}}) << '\n';
  } else {
    terminal.out << absl::StrJoin(response.ids(), " ") << '\n';
  }
  return absl::OkStatus();
}

}  // namespace stockpot
