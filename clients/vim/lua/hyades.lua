-- The language server as Neovim sees it: its own client, which tells the server of buffers.
local M = {}
local client_id

local function client()
  return client_id and vim.lsp.get_client_by_id(client_id)
end

local function told(method)
  return function(_, params)
    vim.fn["hyades#client#told"](method, params)
  end
end

function M.attach(buffer, command, root, settings)
  if #command == 0 then return end
  if not client() then
    vim.fn["hyades#client#told"]("hyades/status", { state = "starting" })
    -- What Vim script calls an empty dictionary; Neovim would not know how to send it.
    local none = settings[vim.type_idx] ~= nil or next(settings) == nil
    client_id = vim.lsp.start_client({
      name = "hyades",
      cmd = command,
      root_dir = vim.uri_to_fname(root),
      init_options = none and vim.empty_dict() or settings,
      handlers = { ["hyades/status"] = told("hyades/status"), ["window/showMessage"] = told("window/showMessage") },
      on_init = vim.schedule_wrap(function() vim.fn["hyades#began"]() end),
      on_exit = vim.schedule_wrap(function(code)
        client_id = nil
        vim.fn["hyades#client#told"]("hyades/status", { state = "error", message = "the language server ended (" .. code .. ")" })
      end),
    })
  end
  if client_id and not vim.lsp.buf_is_attached(buffer, client_id) then
    vim.lsp.buf_attach_client(buffer, client_id)
  end
end

-- Returns the request's id, 0 where it cannot be sent.
function M.request(buffer, method, params, reply)
  local server = client()
  if not server or not vim.lsp.buf_is_attached(buffer, client_id) then
    vim.fn["hyades#client#replied"](reply, vim.NIL)
    return 0
  end
  params.textDocument = { uri = vim.uri_from_bufnr(buffer) }
  local sent, id = server.request(method, params, function(_, result)
    vim.fn["hyades#client#replied"](reply, result == nil and vim.NIL or result)
  end, buffer)
  return sent and id or 0
end

function M.cancel(id)
  local server = client()
  if server then server.cancel_request(id) end
end

function M.execute(params)
  local server = client()
  if server then server.request("workspace/executeCommand", params, function() end) end
end

function M.stop()
  local server = client()
  if server then server.stop() end
end

return M
