# Records that a temporary web key opened a lock: use_temp_key.rb [TEMP_KEY_UUID [USER_ID]]
require 'json'
require 'net/http'
require 'securerandom'

ATTEMPT_TIMEOUT_S = 10 # longer than the service takes to say 503 itself
NO_ANSWER = [SystemCallError, SocketError, IOError, Timeout::Error, Net::ProtocolError,
             OpenSSL::SSL::SSLError].freeze

def main(temp_key = 'example-temp-key', user = 'example-user')
  give_up_at = now + Float(ENV.fetch('TIMEOUT', '30'))
  key = SecureRandom.uuid # one per door opening: every repeat below carries the same
  verb, path = 'POST', "/locks/#{ENV.fetch('LOCK_ID')}/use-temp-key"
  command = { tempKeyUuid: temp_key, userId: user }.to_json
  pause = 0.5
  loop do
    response = attempt(verb, path, command, key)
    case response
    when Net::HTTPSuccess
      answer = JSON.parse(response.body)
      return puts(answer.slice('version', 'event').to_json) if answer['version']

      abort "not recorded: #{response.body}" unless answer['status'] == 'pending'
      if response.code == '202' # it is safe in the log; its version will be found here
        verb, path, command = 'GET', response['Location'], nil
      end
      pause = 0.5
    when Net::HTTPTooManyRequests, Net::HTTPServiceUnavailable
      warn "trying again after #{response.code}"
    when Net::HTTPResponse then abort describe(response)
    else warn "trying again after #{response.message}"
    end
    seconds = retry_after(response) || (pause * rand(0.5..1.0))
    pause = [2 * pause, 8].min
    abort "no final answer in time; repeat with the Idempotency-Key #{key}" if now + seconds > give_up_at
    sleep seconds
  end
end

# The answer, or the error that came instead of one.
def attempt(verb, path, body, key)
  base = URI(ENV.fetch('BASE_URL'))
  http = Net::HTTP.new(base.host, base.port)
  http.use_ssl = base.scheme == 'https'
  http.open_timeout = http.read_timeout = http.write_timeout = ATTEMPT_TIMEOUT_S
  http.max_retries = 0 # `main` repeats
  http.send_request(verb, path, body, {
    'Authorization' => "Bearer #{ENV.fetch('TOKEN')}",
    'X-API-Key' => ENV.fetch('API_KEY'),
    'Content-Type' => 'application/json',
    'Idempotency-Key' => key
  })
rescue *NO_ANSWER => e
  e
end

def retry_after(response)
  return unless response.is_a?(Net::HTTPResponse)

  Integer(response['Retry-After'].to_s, 10, exception: false)
end

def describe(response)
  error = JSON.parse(response.body)
  details = error.fetch('details', []).map { |d| "\n  #{d['field']}: #{d['message']}" }
  "#{response.code} #{error['error']}: #{error['message']}#{details.join}"
rescue JSON::ParserError # not from the service: from a proxy, say
  "#{response.code}: #{response.body.to_s[0, 500]}"
end

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

main(*ARGV)
