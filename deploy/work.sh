# Sourced by scripts that have defined client(), the `stockpot` command line at a
# daemon: gives that daemon work of every kind, so that every metric has something
# to show; twice, since a rate is a difference. `skills` is a folder of skills that
# fit the base, as the client sees it, or empty.
register_skills() {
  [ -n "$skills" ] || return 0
  local skill
  for skill in facts json; do
    client register --name "$skill" "$skills/$skill" || return 1
  done
}

work() {
  local round
  for round in 1 2; do
    client generate --max-new-tokens 8 "The capital of France is" || return 1
    echo
    client list >/dev/null || return 1
    if [ -n "$skills" ]; then
      # A weight that has not been seen is a composition that is not cached.
      client generate --max-new-tokens 8 --recipe "facts=0.$round,json=1" \
        "The capital of France is" || return 1
      echo
    fi
    sleep 2
  done
}
